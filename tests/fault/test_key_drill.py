"""`watchword keys drill`: a rotation and a compromise played through on a running service.

The program is the build with failure points: there the clock of a drill runs 300 times faster.
"""
from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness import keys
from harness.checks import assert_invalid_refresh
from harness.fixtures import ServerFactory
from harness.keydir import KeyDir
from harness.server import Finished, Server, run_command
from harness.settings import fault_binary


@contextmanager
def followed(server: Server) -> Iterator[None]:
    """What takes the service 30 seconds takes it a tenth of one."""
    done = threading.Event()

    def hurry() -> None:
        while not done.wait(0.1):
            server.process.send_signal(signal.SIGHUP)

    thread = threading.Thread(target=hurry)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        time.sleep(0.5)


@pytest.fixture
def directory(tmp_path: Path) -> KeyDir:
    made = KeyDir(tmp_path / "keys", binary=fault_binary())
    made.write(keys.signing_key().pem)
    return made


@pytest.fixture
def server(make_server: ServerFactory, directory: KeyDir) -> Server:
    return make_server(binary=fault_binary(), JWT_PRIVATE_KEY_PEM=None,
                       KEYS_DIR=str(directory.path))


def drill(server: Server, *options: str, **changes: str | None) -> Finished:
    settings = {**server.settings, "WATCHWORD_SPEED": "1", **changes}
    return run_command(["keys", "drill", "--url", server.url, "--json", *options], settings,
                       timeout=120, binary=fault_binary())


def test_a_drill_rotates_and_every_token_verifies(server: Server, directory: KeyDir) -> None:
    """A whole rotation; the account it used is gone."""
    first = directory.active()
    with followed(server):
        done = drill(server)
    assert done.code == 0, done.text
    report = json.loads(done.out)
    assert report["kid_before"] == first and report["kid_after"] == directory.active()
    assert report["failed"] == 0 and report["verified"] > 100
    assert directory.states() == {report["kid_after"]: "active"}
    assert server.db.count("credentials") == 0 and server.db.count("sessions") == 0


def test_a_drilled_compromise_ends_key_and_sessions(server: Server, directory: KeyDir) -> None:
    """Out of the JWKS, no old session refreshes, a new login does."""
    with server.client() as client:
        account = client.new_account()
        victim = client.sign_in(account)
    stolen = directory.active()
    with followed(server):
        done = drill(server, "--compromise", "--yes")
    assert done.code == 0, done.text
    report = json.loads(done.out)
    assert report["revoked"] == stolen and report["active"] == directory.active() != stolen
    assert report["jwks_seconds"] < 60 and report["sessions_seconds"] < 60
    with server.client() as client:
        assert_invalid_refresh(client.refresh(victim.refresh))
        client.rotate(client.sign_in(account).refresh)


def test_a_drill_notices_a_service_that_does_not_follow(
    make_server: ServerFactory, directory: KeyDir, tmp_path: Path
) -> None:
    """Another directory: it gives up, and says why."""
    server = make_server(binary=fault_binary(), JWT_PRIVATE_KEY_PEM=None,
                         KEYS_DIR=str(directory.path))
    other = KeyDir(tmp_path / "other")
    other.write(keys.other_key().pem)
    done = drill(server, KEYS_DIR=str(other.path))
    assert done.code == 1 and "KEYS_DIR" in done.err
    assert list(other.states().values()) == ["active"]


def test_a_drill_asks_before_it_logs_everybody_out(server: Server, directory: KeyDir) -> None:
    """And wants a URL that it can use."""
    done = drill(server, "--compromise")
    assert done.code == 1 and "--yes" in done.err
    for url in ("https://127.0.0.1:1", "127.0.0.1:8080", "http://", "http://127.0.0.1:x", "ftp://x"):
        assert drill(server, f"--url={url}").code == 2
    assert run_command(["keys", "drill"], server.settings).code == 2
    settings = {**server.settings, "WATCHWORD_SPEED": "1"}
    done = run_command(["keys", "drill", "--url", "http://127.0.0.1:1"], settings, timeout=60,
                       binary=fault_binary())
    assert done.code == 1 and "no answer" in done.err
    assert list(directory.states().values()) == ["active"]
