"""The alert rules: right about the program, silent on an ordinary day, and delivered for real."""
from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from harness.client import REFRESH, Account, Client, fresh_password
from harness.fixtures import ServerFactory
from harness.monitoring import DEPLOY, Inbox, Program, start_alertmanager, start_prometheus
from harness.ordinary_day import STEP_S, as_input_series, at, ordinary_day
from harness.server import Server
from harness.settings import REPO
from harness.story import SETTINGS as STORY_SETTINGS, Story

RULES = DEPLOY / "watchword.rules.yml"
REPLAYS = 'auth_refresh_replay_total{job="watchword", instance="b:9090", distance="2_5"}'


def _check_alerts() -> Any:
    spec = importlib.util.spec_from_file_location("check_alerts", REPO / "tools/check_alerts.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    found = shutil.which("promtool")
    assert found, "promtool is missing: install prometheus"
    return subprocess.run([found, *map(str, arguments)], capture_output=True, text=True)


# What the files ask for is what the program says


def test_rules_dashboard_and_runbook_ask_for_series_that_exist(make_server: ServerFactory) -> None:
    """Every metric, label and value in any of their queries is on /metrics of a fresh process."""
    check = _check_alerts()
    text = make_server().ops("/metrics").text
    tree = check.Tree(str(REPO))
    assert list(check.check_series(tree, text)) == []
    lacking = text.replace("auth_lockouts_total", "auth_lock_outs_total")
    assert any("auth_lockouts_total" in problem for problem in check.check_series(tree, lacking))


def _log_commands() -> list[str]:
    """The lines of the runbook that read the log, continued ones joined."""
    text = (REPO / "docs" / "runbook.md").read_text()
    blocks = re.findall(r"```sh\n(.*?)```", text, re.S)
    lines = [line for block in blocks for line in re.sub(r"\n +", " ", block).splitlines()]
    return [line for line in lines if re.match(r"wwlog\b(?!\()", line)]


def test_the_runbooks_log_commands_work(make_sqlite_server: ServerFactory, tmp_path: Path) -> None:
    """Each runs on a real log in which everything happened, with a line in it that is no JSON."""
    assert shutil.which("jq"), "jq is missing: install it"
    server = make_sqlite_server(**STORY_SETTINGS)
    Story(server).play()
    log = tmp_path / "log"
    log.write_bytes(b"watchword: not JSON\n" + server.whole_log())
    found = 0
    for line in _log_commands():
        script = f"set -eo pipefail\nwwlog() {{ cat {log} | jq -Rc 'fromjson?'; }}\n{line}"
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, ""), f"{line}: {done.stderr}"
        found += bool(done.stdout)
    assert found >= 8, "most of them should find something"


# Silent on an ordinary day


def _fired(values: dict[str, list[float | None]], folder: Path) -> list[str]:
    """The alerts that fired at any time of a day of these series."""
    length = len(next(iter(values.values())))
    query = 'count by (alertname) (count_over_time(ALERTS{alertstate="firing"}[1d]))'
    test = {"interval": f"{STEP_S}s", "input_series": as_input_series(values),
            "promql_expr_test": [{"expr": query, "eval_time": f"{length * STEP_S}s", "exp_samples": []}]}
    path = folder / "day.yml"
    path.write_text(yaml.safe_dump({
        "rule_files": [str(RULES)], "evaluation_interval": f"{STEP_S}s", "tests": [test]}))
    done = promtool("test", "rules", path)
    found = re.findall(r'alertname="(\w+)"', done.stdout + done.stderr)
    assert bool(found) == (done.returncode != 0), done.stdout + done.stderr
    return sorted(set(found))


def test_an_ordinary_day_is_silent(tmp_path: Path) -> None:
    """Not one alert in 24 hours, though instances restart, people mistype and the database fails
    over; one replay in its afternoon is told, and nothing else."""
    values = ordinary_day()
    assert _fired(values, tmp_path) == []
    hours = {name: row[at(15):at(17)] for name, row in values.items()}
    hours[REPLAYS] = [0] * at(1) + [1] * at(1)
    assert _fired(hours, tmp_path) == ["WatchwordRefreshReplay"]


# The rules' own tests can fail


def _alerts() -> list[dict[str, Any]]:
    rules = yaml.safe_load(RULES.read_text())
    return [rule for group in rules["groups"] for rule in group["rules"] if "alert" in rule]


def _failing(broken: list[dict[str, Any]], folder: Path) -> set[str]:
    """The alerts whose tests fail with these rules in the place of theirs."""
    output = ""
    for path in sorted((REPO / "tests" / "alerts").glob("*.yml")):
        test = yaml.safe_load(path.read_text())
        tested = {case["alertname"] for group in test["tests"] for case in group["alert_rule_test"]}
        rules = [rule for rule in broken if rule["alert"] in tested]
        (folder / "rules.yml").write_text(yaml.safe_dump(
            {"groups": [{"name": "broken", "rules": rules}]}))
        (folder / "test.yml").write_text(yaml.safe_dump(test | {"rule_files": ["rules.yml"]}))
        done = promtool("test", "rules", folder / "test.yml")
        output += done.stdout + done.stderr
    return set(re.findall(r"alertname: (\w+), time", output))


@pytest.mark.parametrize("expr", ["vector(0) > 1", "vector(1)"], ids=["never", "always"])
def test_no_alert_can_be_broken_unseen(expr: str, tmp_path: Path) -> None:
    """A rule that never fires, or always does, fails its own test: so it is with every alert."""
    broken = [{"alert": rule["alert"], "expr": expr} for rule in _alerts()]
    assert _failing(broken, tmp_path) == {rule["alert"] for rule in _alerts()}
    assert len(broken) >= 20


# Delivered


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    made = Inbox()
    yield made
    made.close()


def _replay(client: Client) -> str:
    first = client.new_session()
    client.rotate(client.rotate(first.refresh).refresh)
    assert client.post(REFRESH, json={"refresh_token": first.refresh}).status_code == 401
    return first.session_id


def _lock(client: Client, accounts: int, threshold: int) -> None:
    for _ in range(accounts):
        target = Account()
        for _ in range(threshold):
            client.login(target, password=fresh_password())


def _wait_for_samples(prometheus: Program, series: str, count: int) -> None:
    """Until Prometheus has that many of it: increase() over a few of them overstates."""
    query = {"query": f"min(count_over_time({series}[15m])) >= {count}"}
    deadline = time.monotonic() + 2 * count + 20
    while not httpx.get(f"{prometheus.url}/api/v1/query", params=query).json()["data"]["result"]:
        assert time.monotonic() < deadline, f"fewer than {count} samples of {series}"
        time.sleep(0.2)


def unanswered(prometheus: Program) -> list[str]:
    """Queries of the dashboard's panels, the runbook and the other pages that find nothing."""
    check = _check_alerts()
    failed = []
    for where, query in check.all_queries(check.Tree(str(REPO))):
        if where.startswith("deploy/prometheus") or "annotation" in where:
            continue
        filled = check.fill(query)
        answer = httpx.get(f"{prometheus.url}/api/v1/query", params={"query": filled}).json()
        if answer["status"] != "success" or not answer["data"]["result"]:
            failed.append(f"{where}: {query}: {answer}")
    return failed


def test_alerts_arrive(
    make_sqlite_server: ServerFactory, inbox: Inbox, tmp_path: Path
) -> None:
    """A replay before Prometheus has seen the process at all, and then a dozen lockouts: both reach
    a webhook through a real Prometheus and Alertmanager on the shipped rules. Every query that we
    tell people to ask has an answer there."""
    server: Server = make_sqlite_server(LOCKOUT_THRESHOLD="3")
    with server.client() as client:
        _replay(client)
        manager, port = start_alertmanager(inbox, tmp_path)
        prometheus = None
        try:
            prometheus = start_prometheus(server, port, tmp_path)
            receiver, alert = inbox.wait("WatchwordRefreshReplay", 20)
            assert receiver == "working-hours"
            assert alert["labels"]["distance"] == "2_5"
            assert alert["labels"]["instance"] == f"127.0.0.1:{server.ops_port}"
            assert alert["annotations"]["runbook_url"] == "docs/runbook.md#watchwordrefreshreplay"
            assert inbox.named("WatchwordLockoutSpike") == []
            _wait_for_samples(prometheus, "auth_lockouts_total", 10)
            _lock(client, 12, 3)
            receiver, alert = inbox.wait("WatchwordLockoutSpike", 20)
            assert re.match(r"About 1[0-4] accounts", alert["annotations"]["description"])
            told = {alert["labels"]["alertname"] for _, alert in inbox.alerts}
            assert told == {"WatchwordRefreshReplay", "WatchwordLockoutSpike"}
            assert unanswered(prometheus) == []
        finally:
            if prometheus:
                prometheus.stop()
            manager.stop()
