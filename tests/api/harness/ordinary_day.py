"""A day of a service with two instances, as series for promtool: nothing in it is worth an alert.

People log in by daylight, mistype, forget; a deployment restarts one instance after the other; the
database is failed over within half a minute at night; NATS reconnects; the hash lane is full for a
moment at nine. Drawn with a fixed seed, so that every run sees the same day.
"""
from __future__ import annotations

import math
import random
from typing import Any

STEP_S = 30
SAMPLES = 24 * 3600 // STEP_S
INSTANCES = ("a:9090", "b:9090")
BUCKETS = ("0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "+Inf")


def at(hour: int, minute: int = 0) -> int:
    return (hour * 3600 + minute * 60) // STEP_S


RESTARTS = {"a:9090": at(10), "b:9090": at(10, 2)}
FAILOVER = at(3, 30)
NATS_AWAY = range(at(14), at(14, 3))


class Day:
    """What each series says at each sample."""

    def __init__(self, seed: int = 1) -> None:
        self.random = random.Random(seed)
        self.values: dict[str, list[float | None]] = {}

    def _series(self, name: str, instance: str, **labels: str) -> list[float | None]:
        pairs = {"job": "watchword", "instance": instance, **labels}
        inner = ", ".join(f'{label}="{value}"' for label, value in pairs.items())
        return self.values.setdefault(f"{name}{{{inner}}}", [])

    def gauge(self, name: str, instance: str, value: Any, **labels: str) -> None:
        """value(sample); there is no sample of what cannot be scraped."""
        down = RESTARTS[instance]
        self._series(name, instance, **labels).extend(
            None if i == down else value(i) for i in range(SAMPLES))

    def counter(self, name: str, instance: str, added: list[int], **labels: str) -> None:
        total, down = 0, RESTARTS[instance]
        series = self._series(name, instance, **labels)
        for i in range(SAMPLES):
            total = 0 if i == down else total + added[i]
            series.append(None if i == down else total)

    def events(self, per_second: Any) -> list[int]:
        """Poisson, near enough: how many in each step."""
        result = []
        for i in range(SAMPLES):
            mean = per_second(i) * STEP_S
            draw = self.random.gauss(mean, math.sqrt(mean)) if mean > 20 else sum(
                self.random.random() < mean / 40 for _ in range(40))
            result.append(max(0, round(draw)))
        return result

    def few(self, chance: float) -> list[int]:
        return [int(self.random.random() < chance) for _ in range(SAMPLES)]


def daylight(i: int) -> float:
    """From 0.03 at four in the night to 1 in the afternoon."""
    return 0.515 - 0.485 * math.cos(2 * math.pi * (i / SAMPLES - 4 / 24))


def spread(total: list[int], shares: dict[str, float]) -> dict[str, list[int]]:
    """Cumulative over the buckets; shares say how many of them take no longer than each."""
    return {le: [round(n * shares[le]) for n in total] for le in BUCKETS}


def _shares(typical: float) -> dict[str, float]:
    """Most are near the typical time; one in two hundred takes up to four times as long."""
    result = {}
    for le in BUCKETS:
        limit = math.inf if le == "+Inf" else float(le)
        result[le] = 1.0 if limit >= 4 * typical else 0.995 if limit >= typical else 0.0
    return result


def _requests(day: Day, instance: str, use: str, good: list[int], typical: float) -> None:
    path = f"/api/auth/{use}"
    labels = {"path": path, "method": "POST", "status": "200"}
    day.counter("http_requests_total", instance, good, **labels)
    for le, added in spread(good, _shares(typical)).items():
        day.counter("http_request_duration_seconds_bucket", instance, added, le=le, **labels)


def _logins(day: Day, instance: str) -> None:
    good = day.events(lambda i: 8 * daylight(i))
    wrong = day.events(lambda i: 0.6 * daylight(i) + 0.01)
    unknown = day.events(lambda i: 0.15 * daylight(i) + 0.01)
    busy = [40 if i == at(9) and instance == INSTANCES[0] else 0 for i in range(SAMPLES)]
    lockouts = day.few(0.004)
    for reason, added in (("ok", good), ("invalid_password", wrong), ("not_found", unknown),
                          ("hash_busy", busy), ("locked", lockouts)):
        result = "success" if reason == "ok" else "failure"
        day.counter("auth_login_total", instance, added, result=result, reason=reason)
    day.counter("auth_lockouts_total", instance, lockouts)
    _requests(day, instance, "login", good, 0.2)
    failed = [a + b for a, b in zip(wrong, unknown)]
    for status, added in (("401", failed), ("423", lockouts), ("503", busy)):
        day.counter("http_requests_total", instance, added, path="/api/auth/login", method="POST",
                    status=status)


def _instance(day: Day, instance: str) -> None:
    down = RESTARTS[instance]
    day.values[f'up{{job="watchword", instance="{instance}"}}'] = [
        0 if i == down else 1 for i in range(SAMPLES)]
    for dep in ("db", "ready"):
        day.gauge("auth_dependency_up", instance, lambda i: int(i != FAILOVER), dep=dep)
    day.gauge("process_start_time_seconds", instance,
              lambda i: -500000 if i < down else down * STEP_S + 2)
    _logins(day, instance)
    _requests(day, instance, "refresh", day.events(lambda i: 30 * daylight(i)), 0.02)
    for distance in ("1", "2_5", "more"):
        day.counter("auth_refresh_replay_total", instance, [0] * SAMPLES, distance=distance)
    office = [8 if i == at(9) else 0 for i in range(SAMPLES)]  # all browsers at once, for a moment
    day.counter("auth_connections_refused_total", instance, office)
    for name in ("watchword_log_lines_dropped_total", "auth_outbox_dropped_total",
                 "auth_signer_restarts_total", "auth_signature_faults_total"):
        day.counter(name, instance, [0] * SAMPLES)
    day.gauge("auth_dependency_up", instance, lambda i: int(i not in NATS_AWAY), dep="nats")
    failing = [2 if i in NATS_AWAY else 0 for i in range(SAMPLES)]
    day.counter("auth_nats_publish_fail_total", instance, failing,
                event_type="auth.user_logged_in")
    age = day.random.random
    day.gauge("auth_outbox_backlog", instance,
              lambda i: 1500 if i in NATS_AWAY else round(40 * age()))
    day.gauge("auth_outbox_oldest_seconds", instance,
              lambda i: 90 if i in NATS_AWAY else round(2 * age(), 1))
    day.gauge("auth_signing_key_age_seconds", instance, lambda i: 864000 + i * STEP_S,
              state="active")


def ordinary_day() -> dict[str, list[float | None]]:
    day = Day()
    for instance in INSTANCES:
        _instance(day, instance)
    return day.values


def as_input_series(values: dict[str, list[float | None]]) -> list[dict[str, str]]:
    def text(value: float | None) -> str:
        return "_" if value is None else f"{value:g}" if isinstance(value, float) else str(value)

    return [{"series": name, "values": " ".join(map(text, row))} for name, row in values.items()]
