"""Events (contract section 6): every change once in the stream, whatever happens to NATS."""
from __future__ import annotations

import datetime
import json
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from harness.client import Account, Tokens
from harness.events import assert_sound, subjects, validator, wait_drained, wait_events
from harness.fixtures import ServerFactory, _stop_all
from harness.nats import STREAM, NatsServer
from harness.reconcile import reconcile, work
from harness.server import Server, run_command
from harness.settings import not_under_tsan, slowness
from harness.storage import postgres_storage
from test_metrics import scrape

THRESHOLD = 3


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[NatsServer]:
    server = NatsServer(tmp_path / "nats").start()
    yield server
    server.kill()


def operator(server: Server, *arguments: str) -> str:
    done = run_command(list(arguments), server.settings, timeout=20)
    assert done.code == 0, done.text
    return done.out


def wait_until(what: str, true: Any, *, seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds * slowness()
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def nats_metrics(server: Server) -> dict[str, float]:
    text = server.ops("/metrics").text
    wanted = ("auth_outbox_", "auth_dependency_up", "auth_nats_")
    return {name: float(value) for name, _, value in
            (line.rpartition(" ") for line in text.splitlines()) if name.startswith(wanted)}


def is_up(server: Server) -> bool:
    return nats_metrics(server)['auth_dependency_up{dep="nats"}'] == 1


def lock(server: Server, account: Account) -> str:
    """Fails until it locks; gives the trace id of the last attempt."""
    with server.client() as client:
        for _ in range(THRESHOLD):
            answer = client.login(account, password="not the password of anyone")
            assert answer.status_code == 401
        assert client.login(account).status_code == 423
    return answer.headers["x-trace-id"]


# Subjects


def test_each_change_has_its_event(make_server: ServerFactory, nats: NatsServer) -> None:
    """Every subject but those of keys, each with the trace id of the answer and of the log line."""
    server = make_server(NATS_URL=nats.url, LOCKOUT_THRESHOLD=str(THRESHOLD),
                         REFRESH_LEEWAY_SECONDS="0", MAX_SESSIONS_PER_USER="2")
    wanted: list[tuple[str, dict[str, Any], str]] = []  # subject, part of the payload, trace id

    def note(subject: str, answer: Any, **payload: Any) -> None:
        wanted.append((f"auth.{subject}", payload, answer.headers["x-trace-id"]))

    with server.client(**{"user-agent": "first agent"}) as client:
        registered = client.register(account := Account())
        user = registered.json()["user_id"]
        note("user_registered", registered, user_id=user, email=account.email)
        owner = {"tenant": account.tenant, "email": account.email}

        def sign_in() -> Tokens:
            tokens = client.sign_in(account)
            note("user_logged_in", tokens.response, user_id=user, session_id=tokens.session_id)
            return tokens

        first = sign_in()
        second = client.rotate(first.refresh)
        third = client.rotate(second.refresh)
        for generation, tokens in ((1, second), (2, third)):
            note("token_refreshed", tokens.response, session_id=first.session_id,
                 generation=generation)
        replay = client.refresh(first.refresh, headers={"User-Agent": "thief"})
        assert replay.status_code == 401
        note("refresh_replay_detected", replay, user_id=user, session_id=first.session_id,
             distance=2)
        note("session_revoked", replay, session_id=first.session_id, reason="replay_detected")
        tokens = sign_in()
        note("user_logged_out", client.logout(tokens.refresh), session_id=tokens.session_id)
        one, two = sign_in(), sign_in()
        note("session_revoked", client.revoke(two.access, one.session_id),
             session_id=one.session_id, reason="user_revoked")
        three = sign_in()
        four = client.sign_in(account)
        note("user_logged_in", four.response, session_id=four.session_id)
        note("session_revoked", four.response, session_id=two.session_id, reason="session_limit")
        ended = client.logout_all(four.access)
        for tokens in (three, four):
            note("session_revoked", ended, session_id=tokens.session_id, reason="logout_all")
        stranger = Account(tenant=account.tenant)
        lock(server, stranger)
        lock(server, account)
    names = ["--tenant", owner["tenant"], "--email", owner["email"]]
    operator(server, "user", "unlock", *names)
    with server.client() as client:
        a, b = client.sign_in(account), client.sign_in(account)
        note("user_logged_in", a.response, session_id=a.session_id)
        note("user_logged_in", b.response, session_id=b.session_id)
    operator(server, "session", "revoke", "--yes", "--session", a.session_id)
    operator(server, "session", "revoke-all", "--yes", *names)
    operator(server, "user", "disable", "--yes", *names)
    operator(server, "user", "enable", *names)
    operator(server, "user", "delete", "--yes", *names)

    by_operators = Counter({"auth.account_unlocked": 1, "auth.session_revoked": 2,
                            "auth.user_disabled": 1, "auth.user_enabled": 1,
                            "auth.user_deleted": 1})
    total = len(wanted) + 2 + sum(by_operators.values())
    found = wait_events(nats, total)
    # What an answer tells of, with its trace id.
    logged = {line.get("trace_id") for line in server.log_lines()}
    events = [message.event for message in found]
    for subject, payload, trace in wanted:
        match = [e for e in events if e["event_type"] == subject and e["trace_id"] == trace
                 and payload.items() <= e["payload"].items()]
        assert len(match) == 1, (subject, payload, trace, match)
        assert match[0]["tenant_id"] == account.tenant and trace in logged
        assert match[0]["actor_id"] == match[0]["payload"]["user_id"] == user
        events.remove(match[0])
    locks = [e for e in events if e["event_type"] == "auth.account_locked"]
    assert [e["payload"].get("user_id") for e in locks] == [None, user]
    assert [e["actor_id"] for e in locks] == [None, user]
    lockouts = server.log_lines("auth.lockout")
    assert [(e["trace_id"], e["payload"]["identity"]) for e in locks] == [
        (line["trace_id"], line["identity"]) for line in lockouts]
    rest = [e for e in events if e not in locks]
    assert Counter(e["event_type"] for e in rest) == by_operators
    assert len({e["trace_id"] for e in rest}) == 6 and not {e["trace_id"] for e in rest} & logged
    (replayed,) = [m.event["payload"] for m in found if m.subject.endswith("replay_detected")]
    assert replayed["previous"] == {"ip": "127.0.0.1", "user_agent": "first agent"}
    assert replayed["presented"] == {"ip": "127.0.0.1", "user_agent": "thief"}
    assert {m.subject for m in found} == subjects() - {"auth.key_rotated", "auth.key_revoked"}
    assert len({m.event["event_id"] for m in found}) == total
    with nats.reader() as reader:
        config = reader.info()["config"]
    assert config["subjects"] == ["auth.>"] and config["max_age"] == 14 * 24 * 3600 * 10**9
    assert config["duplicate_window"] == 30 * 60 * 10**9
    counts = {name: value for name, value in nats_metrics(server).items() if value > 0}
    for subject, count in Counter(m.subject for m in found).items():
        assert counts[f'auth_nats_publish_total{{event_type="{subject}"}}'] == count
    assert not any(name.startswith("auth_nats_publish_fail") for name in counts)


def test_keys_are_told(make_server: ServerFactory, nats: NatsServer, tmp_path: Path) -> None:
    """Published, activated, revoked with a successor: each state once, without a tenant."""
    server = make_server(NATS_URL=nats.url, JWT_PRIVATE_KEY_PEM=None)
    first = json.loads(operator(server, "keys", "list", "--json"))["keys"][0]["kid"]
    second = json.loads(operator(server, "keys", "generate", "--json"))["kid"]
    operator(server, "keys", "publish", second)
    operator(server, "keys", "activate", second, "--emergency", "--yes")
    operator(server, "keys", "revoke", second, "--yes")
    events = [m.event for m in wait_events(nats, 4)]
    told = [(e["event_type"], e["payload"]["kid"], e["payload"]["state"]) for e in events[:3]]
    assert told == [("auth.key_rotated", second, "next"), ("auth.key_rotated", second, "active"),
                    ("auth.key_revoked", second, "revoked")]
    successor = events[3]["payload"]
    assert successor["state"] == "active" and successor["kid"] not in (first, second)
    assert len({e["trace_id"] for e in events}) == 3


def test_what_changes_nothing_has_no_event(make_server: ServerFactory, nats: NatsServer) -> None:
    """Refusals, retries and repetitions."""
    server = make_server(NATS_URL=nats.url)
    with server.client() as client:
        account = client.new_account()
        assert client.register(account).status_code == 409
        key = {"X-Idempotency-Key": "once"}
        twice = Account()
        first = client.register(twice, headers=key)
        assert client.register(twice, headers=key).json() == first.json()
        assert client.login(account, password="not it, not it at all").status_code == 401
        assert client.login(Account()).status_code == 401
        tokens = client.sign_in(account)
        client.rotate(tokens.refresh)
        client.rotate(tokens.refresh)  # within the leeway: the same successor
        assert client.logout(tokens.refresh).status_code == 200
        assert client.logout(tokens.refresh).status_code == 200
        assert client.refresh("wwr_" + "A" * 97).status_code == 401
    found = wait_events(nats, 5)
    assert Counter(m.subject for m in found) == {
        "auth.user_registered": 2, "auth.user_logged_in": 1, "auth.token_refreshed": 1,
        "auth.user_logged_out": 1}
    assert server.db.count("outbox") == 0


def test_without_nats_url_nothing_is_written(make_server: ServerFactory) -> None:
    """No row, and every series at 0."""
    server = make_server(LOCKOUT_THRESHOLD=str(THRESHOLD))
    with server.client() as client:
        account = client.new_account()
        client.logout(client.rotate(client.sign_in(account).refresh).refresh)
        lock(server, account)
    operator(server, "user", "delete", "--yes", "--tenant", account.tenant, "--email",
             account.email)
    assert server.db.count("outbox") == 0
    figures = nats_metrics(server)
    assert figures.pop('auth_dependency_up{dep="db"}') == 1
    assert figures.pop('auth_dependency_up{dep="ready"}') == 1
    assert set(figures.values()) == {0} and len(figures) == 1 + 3 + 2 * len(subjects())
    assert server.ops("/health/ready").json()["checks"]["nats"] == "off"


def test_excluded_subjects_are_not_written(make_server: ServerFactory, nats: NatsServer) -> None:
    server = make_server(NATS_URL=nats.url,
                         EVENTS_EXCLUDE="auth.token_refreshed,auth.user_logged_out")
    with server.client() as client:
        client.logout(client.rotate(client.new_session().refresh).refresh)
    found = wait_events(nats, 2)
    assert [m.subject for m in found] == ["auth.user_registered", "auth.user_logged_in"]
    assert server.db.count("outbox") == 0


def test_nothing_secret_is_in_any_event(make_server: ServerFactory, nats: NatsServer) -> None:
    """A whole story's passwords and tokens, searched in all that the stream has."""
    server = make_server(NATS_URL=f"nats://canary-user:canary-secret@127.0.0.1:{nats.port}",
                         LOCKOUT_THRESHOLD=str(THRESHOLD), REFRESH_LEEWAY_SECONDS="0")
    with server.client() as client:
        account = client.new_account()
        first = client.sign_in(account)
        second = client.rotate(first.refresh)
        client.refresh(first.refresh)
        lock(server, Account())
    wait_drained(server.db)
    with nats.reader() as reader:
        found = reader.messages()
    assert len(found) >= 5
    assert_sound(found)
    stored = b"".join(m.data + str(m.headers).encode() for m in found)
    for secret in (account.password, first.refresh, second.refresh, first.access, second.access,
                   str(server.settings["SERVICE_SECRET"]), "canary"):
        assert secret.encode() not in stored
    server.stop()
    assert b"canary" not in server.whole_log()
    server.start()


def test_the_schemas_refuse_what_is_not_theirs(make_sqlite_server: ServerFactory,
                                               nats: NatsServer) -> None:
    """Control: an event with a member too many, too few, or of another kind is no valid event."""
    server = make_sqlite_server(NATS_URL=nats.url)
    with server.client() as client:
        client.new_account()
    event = wait_events(nats, 1)[0].event
    check = validator("auth.user_registered")
    check.validate(event)
    broken = [{**event, "password": "x"}, {**event, "payload": {**event["payload"], "hash": "x"}},
              {k: v for k, v in event.items() if k != "trace_id"}, {**event, "event_id": "1"},
              {**event, "tenant_id": None}, {**event, "event_type": "auth.user_logged_in"}]
    for wrong in broken:
        with pytest.raises(jsonschema.ValidationError):
            check.validate(wrong)


# NATS away


def test_nats_is_not_needed_to_start_or_to_answer(make_server: ServerFactory,
                                                  nats: NatsServer) -> None:
    """Absent at the start: ready and fast; all is delivered once it is there."""
    nats.stop()
    server = make_server(NATS_URL=nats.url)
    with server.client() as client:
        account = client.new_account()
        for _ in range(5):
            client.rotate(client.sign_in(account).refresh)
        assert client.get("/health/ready").json() == {"status": "ready"}
    detail = server.ops("/health/ready")
    assert detail.status_code == 200
    assert (detail.json()["status"], detail.json()["checks"]["nats"]) == ("degraded", "down")
    wait_until("no backlog", lambda: nats_metrics(server)["auth_outbox_backlog"] == 11)
    wait_until("no failure", lambda: scrape(server).nonzero("auth_nats_publish_fail_total") != {})
    assert nats_metrics(server)["auth_outbox_oldest_seconds"] > 0
    assert not is_up(server)
    nats.start()
    wait_drained(server.db)
    found = wait_events(nats, 11)
    assert Counter(m.subject for m in found)["auth.token_refreshed"] == 5
    wait_until("backlog stays", lambda: nats_metrics(server)["auth_outbox_backlog"] == 0)
    assert nats_metrics(server)["auth_outbox_oldest_seconds"] == 0
    assert is_up(server) and server.ops("/health/ready").json()["status"] == "ready"


@pytest.mark.parametrize("how", ["stopped", "frozen", "killed"])
def test_an_outage_delays_events_and_nothing_else(make_server: ServerFactory, nats: NatsServer,
                                                  how: str) -> None:
    """Requests go on at their pace; afterwards each change has exactly one event, in order."""
    server = make_server(NATS_URL=nats.url)
    with server.client() as client:
        tokens = client.new_session()
        wait_events(nats, 2)
        away = {"stopped": nats.stop, "killed": nats.kill,
                "frozen": lambda: nats.signal(signal.SIGSTOP)}
        away[how]()
        took = []
        for _ in range(20):
            begun = time.monotonic()
            tokens = client.rotate(tokens.refresh)
            took.append(time.monotonic() - begun)
        assert max(took) < 1 * slowness(), took
        assert client.get("/health/ready").status_code == 200
        time.sleep(2.5)  # longer than an answer is waited for
        tokens = client.rotate(tokens.refresh)
        assert server.db.count("outbox") == 21
        if how == "frozen":
            nats.signal(signal.SIGCONT)
        else:
            nats.start()
        wait_drained(server.db)
    found = wait_events(nats, 23)
    generations = [m.event["payload"]["generation"] for m in found[2:]]
    assert generations == list(range(1, 22))


def test_what_the_stream_lacks_is_not_overtaken(make_server: ServerFactory,
                                                 nats: NatsServer) -> None:
    """Of five events that wait, the stream has the first two and the fourth: their acknowledgements
    were lost, and the third was not committed yet. It comes before the fifth, which follows it."""
    server = make_server(NATS_URL="nats://127.0.0.1:1")
    with server.client() as client:
        tokens = client.sign_in(client.new_account())
        for _ in range(3):
            tokens = client.rotate(tokens.refresh)
    server.stop()
    waiting = sorted(server.db.rows("outbox"), key=lambda row: row["seq"])
    ids = [str(row["event_id"]) for row in waiting]
    assert len(ids) == 5
    with nats.reader() as reader:
        reader.ask(f"STREAM.CREATE.{STREAM}", {"name": STREAM, "subjects": ["auth.>"],
                                               "num_replicas": 1})
        for at in (0, 1, 3):
            assert reader.publish(waiting[at]["subject"], b"{}", msg_id=ids[at]) == []
    server.restart(NATS_URL=nats.url)
    wait_drained(server.db)
    with nats.reader() as reader:
        stream = [message.headers["Nats-Msg-Id"] for message in reader.messages()]
    assert stream == [ids[at] for at in (0, 1, 3, 2, 4)]


def test_a_stream_that_takes_nothing_is_told_of_once(make_server: ServerFactory,
                                                     nats: NatsServer) -> None:
    """A connection that stores nothing is no connection: the log does not go back and forth."""
    with nats.reader() as reader:
        reader.ask(f"STREAM.CREATE.{STREAM}", {"name": STREAM, "subjects": ["auth.>"],
                                               "max_msgs": 1, "discard": "new"})
        assert reader.publish("auth.test", b"{}") == []
    server = make_server(NATS_URL=nats.url)
    with server.client() as client:
        client.new_account()
    failed = "auth_nats_publish_fail_total"
    wait_until("four failures", lambda: sum(
        number for name, number in nats_metrics(server).items() if name.startswith(failed)) >= 4,
        seconds=20)
    assert len(server.log_lines("events.connected")) <= 1
    (line,) = server.log_lines("events.disconnected")
    assert "maximum messages" in line["detail"]


def test_an_unfitting_stream_is_adjusted_and_the_rest_left(make_sqlite_server: ServerFactory,
                                                           nats: NatsServer) -> None:
    """Subjects, age and duplicate window become ours; what an operator chose stays."""
    with nats.reader() as reader:
        made = reader.ask(f"STREAM.CREATE.{STREAM}", {
            "name": STREAM, "subjects": ["other.>"], "storage": "memory", "retention": "limits",
            "max_msgs": 5000, "num_replicas": 1})
        assert "error" not in made, made
    server = make_sqlite_server(NATS_URL=nats.url)
    with server.client() as client:
        client.new_account()
    wait_events(nats, 1)
    with nats.reader() as reader:
        config = reader.info()["config"]
    assert config["subjects"] == ["other.>", "auth.>"]
    assert config["max_age"] == 14 * 24 * 3600 * 10**9
    assert (config["storage"], config["max_msgs"]) == ("memory", 5000)


def test_a_publisher_without_rights_on_the_stream_still_publishes(
        make_sqlite_server: ServerFactory, tmp_path: Path) -> None:
    """Least privilege; and a client without the right to publish adds nothing."""
    server = NatsServer(tmp_path / "nats", """
        authorization { users: [
          { user: admin, password: a },
          { user: watchword, password: w, permissions: {
              publish: ["auth.>"], subscribe: ["_INBOX.>"] } },
          { user: other, password: o, permissions: {
              publish: { deny: ["auth.>", "$JS.API.>"] }, subscribe: { deny: ["auth.>"] } } },
        ] }""").start()
    try:
        with server.reader(user="admin", password="a") as reader:
            reader.ask(f"STREAM.CREATE.{STREAM}", {
                "name": STREAM, "subjects": ["auth.>"], "storage": "file", "retention": "limits",
                "num_replicas": 1})
        service = make_sqlite_server(NATS_URL=f"nats://watchword:w@127.0.0.1:{server.port}")
        with service.client() as client:
            client.new_account()
        wait_drained(service.db)
        with server.reader(user="other", password="o") as reader:
            assert "Permissions Violation" in str(reader.publish("auth.user_registered", b"{}"))
        with server.reader(user="admin", password="a") as reader:
            found = reader.messages()
        assert [m.subject for m in found] == ["auth.user_registered"]
        assert_sound(found)
    finally:
        server.kill()


def certificates(folder: Path, name: str) -> None:
    """An authority, and a server's certificate of it for that name."""
    now = datetime.datetime.now(datetime.timezone.utc)

    def write(file: str, subject: str, key: Any, issuer: str, signer: Any, names: Any) -> None:
        named = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, subject)])
        builder = (x509.CertificateBuilder().subject_name(named)
                   .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, issuer)]))
                   .public_key(key.public_key()).serial_number(x509.random_serial_number())
                   .not_valid_before(now - datetime.timedelta(days=1))
                   .not_valid_after(now + datetime.timedelta(days=1)))
        ca = x509.BasicConstraints(ca=names is None, path_length=None)
        builder = builder.add_extension(ca, critical=True)
        if names is not None:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        made = builder.sign(signer, hashes.SHA256())
        (folder / f"{file}.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
        (folder / f"{file}.key").write_bytes(key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption()))

    authority, own = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    write("ca", "test authority", authority, "test authority", authority, None)
    write("server", name, own, "test authority", authority, [x509.DNSName(name)])


@not_under_tsan("libnats 3.4 reads and writes one TLS connection from two threads")
def test_tls_is_for_the_host_of_the_url(make_sqlite_server: ServerFactory,
                                        tmp_path: Path) -> None:
    """Its name and an authority that is known, or no event leaves; the service does not mind."""
    certificates(tmp_path, "localhost")
    server = NatsServer(tmp_path / "nats", f"""
        tls {{ cert_file: "{tmp_path}/server.pem", key_file: "{tmp_path}/server.key" }}
        authorization {{ user: events, password: "p" }}""").start()
    known = str(tmp_path / "ca.pem")
    try:
        for url, authorities, good in (
                (f"tls://events:p@localhost:{server.port}", known, True),
                (f"tls://events:p@127.0.0.1:{server.port}", known, False),
                (f"tls://events:p@localhost:{server.port}", None, False),
                (f"tls://events:wrong@localhost:{server.port}", known, False)):
            service = make_sqlite_server(NATS_URL=url, SSL_CERT_FILE=authorities)
            with service.client() as client:
                client.new_account()
            service.wait_log("events.connected" if good else "events.disconnected")
            if good:
                wait_drained(service.db)
            assert service.db.count("outbox") == (0 if good else 1)
            assert b"events:" not in service.whole_log() and is_up(service) == good
    finally:
        server.kill()


def test_at_the_cap_the_oldest_are_dropped_and_counted(make_server: ServerFactory,
                                                       nats: NatsServer) -> None:
    """EVENTS_BACKLOG_MAX: the newest stay, the rest is counted, and nothing else notices."""
    nats.stop()
    server = make_server(NATS_URL=nats.url, EVENTS_BACKLOG_MAX="100")
    with server.client() as client:
        tokens = client.new_session()
        for _ in range(130):
            tokens = client.rotate(tokens.refresh)
    wait_until("not trimmed", lambda: server.db.count("outbox") == 100)
    wait_until("not counted", lambda: nats_metrics(server)["auth_outbox_dropped_total"] == 32)
    assert len(server.wait_log("events.dropped")) == 1
    nats.start()
    wait_drained(server.db)
    found = wait_events(nats, 100)
    assert [m.event["payload"]["generation"] for m in found] == list(range(31, 131))


# Several instances, and crashes


def test_killed_while_publishing_nothing_is_lost_or_doubled(make_server: ServerFactory,
                                                            nats: NatsServer) -> None:
    """kill -9 again and again under load, once together with NATS."""
    server = make_server(NATS_URL=nats.url)
    for crash in range(4):
        load = threading.Thread(target=work, args=([server], 100))
        load.start()
        with nats.reader() as reader:
            enough = reader.count() + 25
            wait_until("no events", lambda: reader.count() >= enough, seconds=30)
        if crash == 2:
            nats.kill()
        server.kill()
        load.join()
        if crash == 2:
            nats.start()
        server.start()
    wait_drained(server.db)
    with nats.reader() as reader:
        found = reader.messages()
    assert len(found) >= 100
    reconcile(server, found)


def test_reconciling_sees_what_is_wrong(make_sqlite_server: ServerFactory,
                                        nats: NatsServer) -> None:
    """Control: an event that is missing, doubled, or out of order."""
    server = make_sqlite_server(NATS_URL=nats.url)
    work([server], 1, threads=1)
    wait_drained(server.db)
    with nats.reader() as reader:
        found = reader.messages()
    reconcile(server, found)
    for wrong in (found[:3] + found[4:], found + found[-1:], found[:2] + [found[3], found[2]]
                  + found[4:]):
        with pytest.raises(AssertionError):
            reconcile(server, wrong)


@pytest.fixture
def make_two(postgres_cluster: Any, data_root: Any) -> Iterator[Any]:
    """Two instances on one PostgreSQL."""
    servers: list[Server] = []

    def make(**settings: Any) -> list[Server]:
        storage = postgres_storage(data_root(), postgres_cluster)
        secret = "0123456789abcdef0123456789abcdef"
        for _ in range(2):
            servers.append(Server(storage, {**settings, "SERVICE_SECRET": secret}).start())
        return servers

    yield make
    _stop_all(servers)


def test_two_instances_share_the_backlog(make_two: Any, nats: NatsServer) -> None:
    """Each event once and in order, however the work is spread; one takes over from the other."""
    servers = make_two(NATS_URL=nats.url)
    work(servers, 2)
    wait_drained(servers[0].db)
    with nats.reader() as reader:
        found = reader.messages()
    reconcile(servers[0], found)
    published = [sum(scrape(server).nonzero("auth_nats_publish_total").values())
                 for server in servers]
    assert sum(published) == len(found) and min(published) == 0, published
    leader, other = servers if published[0] > 0 else servers[::-1]
    leader.kill()
    work([other], 1, threads=2)
    wait_drained(other.db)
    with nats.reader() as reader:
        found = reader.messages()
    reconcile(other, found)
    leader.start()
