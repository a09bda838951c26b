"""The signing key is in a process of its own; what happens when that dies, hangs, or gets new keys.

The scans of memory need root: no process of the service may be looked into by anybody else.
"""
from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from harness import keys
from harness.checks import assert_problem
from harness.client import Client, Tokens
from harness.fixtures import ServerFactory
from harness.keys import RsaKey
from harness.processes import (
    as_user,
    descriptors,
    is_root,
    keeper_of,
    memory,
    signer_of,
    signers_of,
    status,
)
from harness.server import Server, environment, run_command
from harness.settings import (
    default_settings,
    fault_binary,
    searches_memory,
    service_binary,
    slowness,
)
from harness.storage import sqlite_storage

needs_root = pytest.mark.skipif(not is_root(), reason="looking into a process takes root")


def eventually(true: Callable[[], object], what: str, seconds: float = 8) -> None:
    deadline = time.monotonic() + seconds * slowness()
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def metric(server: Server, name: str) -> float:
    for line in server.ops("/metrics").text.splitlines():
        if line.startswith(name + " "):
            return float(line.split()[1])
    raise AssertionError(f"no {name}")


def key_needles(key: RsaKey) -> dict[str, bytes]:
    """The private numbers as a memory holds them: little-endian words, or big-endian bytes."""
    numbers = key.private.private_numbers()
    found = {}
    for name, value in (("p", numbers.p), ("q", numbers.q), ("d", numbers.d),
                        ("dp", numbers.dmp1), ("dq", numbers.dmq1)):
        raw = value.to_bytes((value.bit_length() + 7) // 8, "little")
        found[name] = raw[16:80]
        found[name + " big-endian"] = raw[::-1][16:80]
    for number, line in enumerate(key.pem.splitlines()[1:-1]):
        found[f"PEM line {number}"] = line.encode()[:48]
    return {name: needle for name, needle in found.items() if len(needle) >= 40}


def found_in(haystack: bytes, needles: dict[str, bytes]) -> list[str]:
    return [name for name, needle in needles.items() if needle in haystack]


def work_a_little(client: Client) -> None:
    for _ in range(3):
        tokens = client.new_session()
        for _ in range(5):
            tokens = client.rotate(tokens.refresh)


# Where the key is


def test_three_processes_each_confined(make_sqlite_server: ServerFactory) -> None:
    """Network, keeper, signer: no new privileges, seccomp on every thread, no core dumps."""
    server = make_sqlite_server()
    server.wait_log("service.started")
    for pid in (server.process.pid, keeper_of(server), signer_of(server)):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            lines = status(int(thread.name))
            assert lines["NoNewPrivs"] == "1", lines["Name"]
            assert lines["Seccomp"] == "2", lines["Name"]
        limits = Path(f"/proc/{pid}/limits").read_text() if is_root() else ""
        if is_root():
            assert "Max core file size        0                    0" in limits


@needs_root
def test_a_command_is_confined_as_well(tmp_path: Path) -> None:
    """It holds the service's secrets, and keys: no new privileges, no core dumps."""
    settings = {**default_settings(), "DATA_DIR": str(tmp_path),
                "DATABASE_URL": f"sqlite:{tmp_path}/watchword.db"}
    assert run_command(["migrate"], settings).code == 0
    with subprocess.Popen([service_binary(), "user", "import"], env=environment(settings), cwd="/",
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE) as command:
        eventually(lambda: status(command.pid)["NoNewPrivs"] == "1", "it may still gain privileges")
        limits = Path(f"/proc/{command.pid}/limits").read_text()
        assert "Max core file size        0                    0" in limits
        command.communicate(b"")
    assert command.returncode == 0


@pytest.fixture
def ordinary_server() -> Iterator[Server]:
    """A server that is not root's, with a program and a folder its user may use."""
    owner = as_user("nobody")
    with tempfile.TemporaryDirectory(prefix="watchword-") as name:
        folder, data = Path(name), Path(name) / "data"
        data.mkdir()
        binary = Path(shutil.copy(service_binary(), folder))
        for path in (folder, data, binary) if owner else ():
            os.chown(path, owner["user"], owner["group"])
        server = Server(sqlite_storage(data), binary=binary, owner=owner).start()
        try:
            yield server
            server.stop()
        finally:
            server.kill()


def test_its_own_user_may_not_look_into_a_process(ordinary_server: Server) -> None:
    """Who may be looked into by its user has files in /proc that are that user's, as a process that
    does nothing about it shows; those of the three are root's."""
    pids = (ordinary_server.process.pid, keeper_of(ordinary_server), signer_of(ordinary_server))
    with subprocess.Popen(["sleep", "60"], **as_user("nobody")) as open_to_all:
        user = os.stat(f"/proc/{open_to_all.pid}/maps").st_uid
        open_to_all.kill()
    assert user != 0
    for pid in pids:
        assert status(pid)["Uid"].split() == 4 * [str(user)]
        assert os.stat(f"/proc/{pid}/maps").st_uid == 0, status(pid)["Name"]


@needs_root
@searches_memory()
@pytest.mark.parametrize("escaped", [False, True])
def test_private_key_is_in_the_signer_alone(make_server: ServerFactory, escaped: bool) -> None:
    """After work: no factor, exponent or line of the PEM in the network process or the keeper, in
    their environment or on a command line. The signer is the control: there the scan finds it."""
    key = keys.new_key()
    pem = key.pem.replace("\n", "\\n") if escaped else key.pem
    server = make_server(JWT_PRIVATE_KEY_PEM=pem)
    with server.client() as client:
        work_a_little(client)
    needles = key_needles(key)
    assert {"p", "q"} <= set(found_in(memory(signer_of(server)), needles))
    for pid in (server.process.pid, keeper_of(server)):
        assert found_in(memory(pid), needles) == [], status(pid)["Name"]
    for pid in (server.process.pid, keeper_of(server), signer_of(server)):
        for name in ("environ", "cmdline"):
            assert found_in(Path(f"/proc/{pid}/{name}").read_bytes(), needles) == []


@needs_root
@searches_memory()
def test_private_key_of_a_directory_is_in_the_signer_alone(
    make_sqlite_server: ServerFactory, tmp_path: Path
) -> None:
    """The same from KEYS_DIR, also when the directory lies beside the database."""
    key = keys.new_key()
    server = make_sqlite_server(JWT_PRIVATE_KEY_PEM=None, KEYS_DIR=str(folder_with(tmp_path, key)))
    with server.client() as client:
        work_a_little(client)
    needles = key_needles(key)
    assert {"p", "q"} <= set(found_in(memory(signer_of(server)), needles))
    assert found_in(memory(server.process.pid), needles) == []


def test_key_from_a_file_is_read_once(make_sqlite_server: ServerFactory, tmp_path: Path) -> None:
    """Whatever is written to the file meanwhile, the next signer has the key that is published."""
    path = tmp_path / "key.pem"
    path.write_text(keys.signing_key().pem)
    server = make_sqlite_server(JWT_PRIVATE_KEY_PEM=None, JWT_PRIVATE_KEY_PEM_FILE=str(path))
    jwks = httpx.get(server.url + "/.well-known/jwks.json").json()
    for times, content in enumerate((keys.other_key().pem, "half a k", None), 1):
        if content is None:
            path.unlink()
        else:
            path.write_text(content)
        os.kill(signer_of(server), signal.SIGKILL)
        server.wait_log("signer.started", times)
        with server.client() as client:
            work_a_little(client)
        assert httpx.get(server.url + "/.well-known/jwks.json").json() == jwks


@pytest.mark.parametrize("source", ["KEYS_DIR", "JWT_PRIVATE_KEY_PEM", "JWT_PRIVATE_KEY_PEM_FILE"])
def test_no_descriptor_leads_to_the_key(
    make_sqlite_server: ServerFactory, tmp_path: Path, source: str
) -> None:
    """The network process has sockets, its log, its database and its own figures open; nothing else,
    wherever the key came from, and after work."""
    if not is_root():
        pytest.skip("takes root")
    key = keys.new_key()
    path = tmp_path / "key.pem"
    path.write_text(key.pem)
    settings: dict[str, str | None] = {"JWT_PRIVATE_KEY_PEM": None}
    settings[source] = {"KEYS_DIR": str(folder_with(tmp_path, key)), "JWT_PRIVATE_KEY_PEM": key.pem,
                        "JWT_PRIVATE_KEY_PEM_FILE": str(path)}[source]
    server = make_sqlite_server(**settings)
    with server.client() as client:
        work_a_little(client)
        targets = descriptors(server.process.pid)
    pid, data = server.process.pid, re.escape(str(server.storage.data_dir))
    allowed = re.compile(
        rf"socket:\[\d+\]|anon_inode:\[(eventfd|eventpoll|signalfd)\]|/dev/null|/proc/{pid}/(stat|fd)"
        rf"|{data}/watchword\.db(-wal|-shm)?|{re.escape(str(server.log_path))}")
    assert f"{server.storage.data_dir}/watchword.db" in targets
    assert [target for target in targets if not allowed.fullmatch(target)] == []


def test_nothing_tells_of_the_key(make_sqlite_server: ServerFactory) -> None:
    """Neither metrics, health, JWKS, errors nor the log at its most talkative: no private number,
    in text or as bytes, no line of the PEM, no secret."""
    key = keys.new_key()
    server = make_sqlite_server(JWT_PRIVATE_KEY_PEM=key.pem, LOG_LEVEL="debug")
    numbers = key.private.private_numbers()
    needles = key_needles(key)
    for name, value in (("p", numbers.p), ("q", numbers.q), ("d", numbers.d)):
        raw = value.to_bytes((value.bit_length() + 7) // 8, "big")
        needles[name + " in hex"] = raw.hex().encode()[:64]
        needles[name + " in base64"] = keys.b64u(raw).encode()[:64]
        needles[name + " in decimal"] = str(value).encode()[:64]
    needles["service secret"] = (server.settings["SERVICE_SECRET"] or "").encode()
    with server.client() as client:
        work_a_little(client)
        told = [server.ops("/metrics").content, server.ops("/api/ready").content,
                client.get("/.well-known/jwks.json").content, client.get("/nowhere").content,
                client.refresh("wwr_" + "A" * 94).content]
        os.kill(signer_of(server), signal.SIGKILL)
        server.wait_log("signer.started")
        work_a_little(client)
    for text in (*told, server.whole_log()):
        assert found_in(text, needles) == []
    assert found_in(key.pem.encode(), needles), "the control: the needles are found where they are"


# When the signer dies or hangs


def test_signer_killed_under_load(make_server: ServerFactory) -> None:
    """Each refresh is answered 200 or 503, never 401 and never late; all chains live on; the next
    signer is there by itself, and log and counter tell."""
    server = make_server(REFRESH_LEEWAY_SECONDS="60")
    codes: list[int] = []
    ready, stop = threading.Barrier(5, timeout=20 * slowness()), threading.Event()

    def refresh_on_and_on() -> None:
        with server.client() as client:
            token = client.new_session().refresh
            ready.wait()
            while not stop.is_set():
                began = time.monotonic()
                answer = client.refresh(token)
                assert time.monotonic() - began < 5 * slowness()
                codes.append(answer.status_code)
                if answer.status_code == 200:
                    token = answer.json()["refresh_token"]
            client.rotate(token)

    threads = [threading.Thread(target=refresh_on_and_on) for _ in range(4)]
    for thread in threads:
        thread.start()
    ready.wait()
    for kills in range(1, 4):
        eventually(lambda: signers_of(server), "no signer")
        os.kill(signer_of(server), signal.SIGKILL)
        server.wait_log("signer.died", kills)
        server.wait_log("signer.started", kills)
        time.sleep(0.1)
    stop.set()
    for thread in threads:
        thread.join()
    assert set(codes) <= {200, 503}, set(codes)
    assert codes.count(200) > 20
    assert metric(server, "auth_signer_restarts_total") == 3
    assert server.is_ready()


def test_without_a_signer_not_ready_and_503(make_sqlite_server: ServerFactory) -> None:
    """While none can be started (its keys are gone): readiness says so, login and refresh are 503
    with Retry-After and change nothing; JWKS and sessions go on. Then it heals by itself."""
    server = make_sqlite_server(JWT_PRIVATE_KEY_PEM=None, KEYS_DIR=None)
    folder = server.storage.data_dir / "keys"
    [file] = folder.glob("*.pem")
    with server.client() as client:
        account = client.new_account()
        tokens = client.sign_in(account)
        content = file.read_bytes()
        file.unlink()
        time.sleep(0.1)
        os.kill(signer_of(server), signal.SIGKILL)
        eventually(lambda: not server.is_ready(), "still ready")
        assert server.ops("/api/ready").json()["checks"]["signing_key"] == "unavailable"
        before = server.db.session(tokens.session_id)["generation"]
        for answer in (client.login(account), client.refresh(tokens.refresh)):
            assert_problem(answer, 503, "unavailable")
            assert int(answer.headers["retry-after"]) >= 1
        assert server.db.session(tokens.session_id)["generation"] == before
        assert client.get("/.well-known/jwks.json").status_code == 200
        assert client.sessions(tokens.access).status_code == 200
        file.write_bytes(content)
        file.chmod(0o600)
        eventually(server.is_ready, "not ready again", 20)
        client.rotate(tokens.refresh)


def test_signer_that_hangs_is_replaced(make_sqlite_server: ServerFactory) -> None:
    """Stopped, not dead: the request is 503 within seconds, and another signer takes its place."""
    server = make_sqlite_server(REFRESH_LEEWAY_SECONDS="60")
    with server.client() as client:
        tokens = client.new_session()
        hung = signer_of(server)
        os.kill(hung, signal.SIGSTOP)
        began = time.monotonic()
        assert_problem(client.refresh(tokens.refresh), 503, "unavailable")
        assert time.monotonic() - began < 4 * slowness()
        server.wait_log("signer.started")
        eventually(lambda: signers_of(server) not in ([], [hung]), "no other signer")
        client.rotate(tokens.refresh)
    eventually(lambda: not Path(f"/proc/{hung}").exists(), "it is still there")


def test_nothing_outlives_the_service(make_sqlite_server: ServerFactory) -> None:
    """Killed or stopped, its keeper and signer end with it."""
    server = make_sqlite_server()
    for end in (server.kill, server.stop):
        pids = [keeper_of(server), signer_of(server)]
        end()
        eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids),
                   "a process is left")
        server.start()


@pytest.mark.parametrize("generated", [False, True], ids=["given", "generated"])
def test_what_hangs_does_not_outlive_the_service(
    make_sqlite_server: ServerFactory, generated: bool
) -> None:
    """A keeper and the first signer that do not run any more are ended all the same."""
    server = make_sqlite_server(**({"JWT_PRIVATE_KEY_PEM": None} if generated else {}))
    for _ in range(2):
        pids = [signer_of(server), keeper_of(server)]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        server.kill()
        eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids),
                   "a process is left")
        server.start()


def test_without_a_keeper_the_service_ends(make_sqlite_server: ServerFactory) -> None:
    """Nothing could sign for good: it says so and ends, for a supervisor to start it afresh."""
    server = make_sqlite_server()
    os.kill(keeper_of(server), signal.SIGKILL)
    assert server.process.wait(timeout=10 * slowness()) == 1
    server._process = None
    assert server.log_lines("signer.lost")


def test_faulty_signature_never_leaves(make_sqlite_server: ServerFactory) -> None:
    """A bit flips in the arithmetic (a build with failure points): 503, counted, no token."""
    server = make_sqlite_server(binary=fault_binary(), WATCHWORD_WITHOUT="sound arithmetic")
    with server.client() as client:
        account = client.new_account()
        for _ in range(5):
            answer = client.login(account)
            assert_problem(answer, 503, "unavailable")
            assert "access_token" not in answer.text
    assert metric(server, "auth_signature_faults_total") == 5


# When the keys change


def folder_with(tmp_path: Path, key: RsaKey, name: str = "a.pem") -> Path:
    folder = tmp_path / "keys"
    folder.mkdir(mode=0o700, exist_ok=True)
    for file in folder.glob("*"):
        file.unlink()
    file = folder / name
    file.touch(mode=0o600)
    file.write_text(key.pem)
    return folder


def kids_of(client: Client) -> set[str]:
    return {key["kid"] for key in client.get("/.well-known/jwks.json").json()["keys"]}


def refresh_until_signed_with(client: Client, tokens: Tokens, key: RsaKey, seconds: float) -> None:
    """No refresh fails until the key is the one that is published, and then it signs."""
    deadline = time.monotonic() + seconds
    while kids_of(client) != {key.thumbprint}:
        assert time.monotonic() < deadline, "the keys are not taken up"
        tokens = client.rotate(tokens.refresh)
    tokens = client.rotate(tokens.refresh)
    assert keys.read_header(tokens.access)["kid"] == key.thumbprint


@pytest.mark.parametrize("how", ["hangup", "by itself"])
def test_changed_keys_are_taken_up(
    make_sqlite_server: ServerFactory, tmp_path: Path, how: str
) -> None:
    """On SIGHUP, or by itself within half a minute; no request fails while they change."""
    old, new = keys.new_key(), keys.new_key()
    folder = folder_with(tmp_path, old)
    server = make_sqlite_server(JWT_PRIVATE_KEY_PEM=None, KEYS_DIR=str(folder))
    with server.client() as client:
        tokens = client.new_session()
        assert kids_of(client) == {old.thumbprint}
        folder_with(tmp_path, new, "b.pem")
        if how == "hangup":
            server.process.send_signal(signal.SIGHUP)
        refresh_until_signed_with(client, tokens, new, seconds=30)
    eventually(lambda: len(signers_of(server)) == 1, "the old signer is still there")
    assert server.log_lines("signer.died") == []
    assert metric(server, "auth_signer_restarts_total") == 0


def stop_one_that_loads(server: Server) -> int:
    """SIGHUP, and the new signer is stopped before it is ready: tried until it is caught at that."""
    deadline = time.monotonic() + 20 * slowness()
    while time.monotonic() < deadline:
        [working] = signers_of(server)
        server.process.send_signal(signal.SIGHUP)
        while not (new := [pid for pid in signers_of(server) if pid != working]):
            assert time.monotonic() < deadline, "no new signer"
        os.kill(new[0], signal.SIGSTOP)
        time.sleep(0.2 * slowness())
        if working in signers_of(server):
            return new[0]
        os.kill(new[0], signal.SIGCONT)  # too late: it works
    raise AssertionError("it was always too late")


def test_signer_that_hangs_while_it_loads_is_given_up(
    make_sqlite_server: ServerFactory, tmp_path: Path
) -> None:
    """The old keys go on signing; keys changed meanwhile are taken up by the next one."""
    old, new = keys.new_key(), keys.new_key()
    folder = folder_with(tmp_path, old)
    server = make_sqlite_server(JWT_PRIVATE_KEY_PEM=None, KEYS_DIR=str(folder))
    with server.client() as client:
        tokens = client.new_session()
        hung = stop_one_that_loads(server)
        folder_with(tmp_path, new, "b.pem")
        server.process.send_signal(signal.SIGHUP)
        refresh_until_signed_with(client, tokens, new, seconds=40)
    [line] = server.log_lines("signer.keys_refused")
    assert "did not become ready" in line["detail"]
    eventually(lambda: hung not in signers_of(server), "the hung one is still there")


def test_flawed_keys_change_nothing(make_sqlite_server: ServerFactory, tmp_path: Path) -> None:
    """The line names the file; the old key goes on signing, also with a mended directory later."""
    old = keys.new_key()
    folder = folder_with(tmp_path, old)
    server = make_sqlite_server(JWT_PRIVATE_KEY_PEM=None, KEYS_DIR=str(folder))
    with server.client() as client:
        (folder / "a.pem").write_text("no key")
        server.process.send_signal(signal.SIGHUP)
        [line] = server.wait_log("signer.keys_refused")
        assert "a.pem" in line["detail"]
        work_a_little(client)
        assert kids_of(client) == {old.thumbprint}
        new = keys.new_key()
        folder_with(tmp_path, new)
        server.process.send_signal(signal.SIGHUP)
        eventually(lambda: kids_of(client) == {new.thumbprint}, "not mended")


# SANDBOX


def test_sandbox_off_is_said(make_sqlite_server: ServerFactory) -> None:
    server = make_sqlite_server(SANDBOX="off")
    assert status(server.process.pid)["Seccomp"] == "0"
    with server.client() as client:
        work_a_little(client)


def test_sandbox_required_works_here(make_server: ServerFactory) -> None:
    """The whole of it, on this kernel, on both stores."""
    server = make_server(SANDBOX="require")
    with server.client() as client:
        work_a_little(client)
    assert server.log_lines("sandbox.incomplete") == []


def test_sandbox_of_another_kind_is_refused() -> None:
    done = run_command(["check"], {"SANDBOX": "maybe"})
    assert done.code == 1 and "SANDBOX must be one of: auto, require, off" in done.err
