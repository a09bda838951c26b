"""How the kernel is asked to treat the threads: those that take long give way to all others."""
from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from harness import ports
from harness.fixtures import ServerFactory
from harness.processes import keeper_of, signers_of
from harness.server import Server
from harness.settings import fault_binary, slowness

BACKGROUND = {"hash", "census", "sweep", "relay"}
PROMPT = {"watchword", "db", "sign", "pace", "deadlines", "MHD-worker"}
PROMPT_TURN_NS, BACKGROUND_TURN_NS = 100_000, 200_000


@pytest.fixture
def server(make_sqlite_server: ServerFactory) -> Server:
    """With a thread of every kind; the relay is there whether or not NATS is."""
    return make_sqlite_server(NATS_URL=f"nats://127.0.0.1:{ports.free_port()}")


def _each_thread(server: Server, read: Callable[[Path], int]) -> dict[str, set[int]]:
    """What is read of the threads, by their names."""
    found: dict[str, set[int]] = {}
    for task in Path(f"/proc/{server.process.pid}/task").iterdir():
        found.setdefault((task / "comm").read_text().strip(), set()).add(read(task))
    return found


def _wait_for(server: Server, read: Callable[[Path], int], wanted: dict[str, int]) -> None:
    """A thread has a name before it has said what it wants to be."""
    deadline = time.monotonic() + 5 * slowness()
    expected = {name: {value} for name, value in wanted.items()}
    while (seen := {k: v for k, v in _each_thread(server, read).items() if k in wanted}) != expected:
        assert time.monotonic() < deadline, seen
        time.sleep(0.05)


def _nice(task: Path) -> int:
    return int((task / "stat").read_text().rpartition(")")[2].split()[16])


def test_background_threads_are_nicer(server: Server) -> None:
    own = os.getpriority(os.PRIO_PROCESS, 0)
    _wait_for(server, _nice, {name: own + 10 for name in BACKGROUND} | {name: own for name in PROMPT})


def _turn(task: Path) -> int:
    found = re.search(r"^se\.slice\s*:\s*(\d+)$", (task / "sched").read_text(), re.M)
    assert found, "no se.slice"
    return int(found[1])


def _kernel_has_turns() -> bool:
    release = re.match(r"(\d+)\.(\d+)", os.uname().release)
    return bool(release) and tuple(map(int, release.groups())) >= (6, 12) \
        and Path("/proc/self/sched").exists()


@pytest.mark.skipif(not _kernel_has_turns(), reason="Linux 6.12 and CONFIG_SCHED_DEBUG")
def test_prompt_threads_have_the_shorter_turns(server: Server) -> None:
    """All of them, whether they start before the sandbox or in it, and the keeper and the signer."""
    _wait_for(server, _turn, {name: BACKGROUND_TURN_NS for name in BACKGROUND}
              | {name: PROMPT_TURN_NS for name in PROMPT})
    others = [keeper_of(server), *signers_of(server)]
    assert len(others) >= 2
    assert {_turn(Path(f"/proc/{pid}")) for pid in others} == {PROMPT_TURN_NS}


@pytest.fixture
def as_batch() -> Iterator[None]:
    """Whatever is started is under another scheduling policy, as a unit file may ask for."""
    before = os.sched_getscheduler(0)
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    yield
    os.sched_setscheduler(0, before, os.sched_param(0))


@pytest.mark.usefixtures("as_batch")
def test_the_policy_that_an_operator_chose_stays(server: Server) -> None:
    _wait_for(server, lambda task: os.sched_getscheduler(int(task.name)),
              {name: os.SCHED_BATCH for name in PROMPT} | {name: os.SCHED_OTHER for name in BACKGROUND})


# ---- a signature in the midst of a hash ----

CORES = os.cpu_count() or 1
LONG_HASH = {"ARGON_MEMORY_KB": "65536", "ARGON_ITERATIONS": str(round(40 / slowness())),
             "MAX_CONCURRENT_HASHES": str(CORES), "HASH_ACQUIRE_TIMEOUT_MS": "60000"}


def _went_to_sleep(task: Path) -> int:
    found = re.search(r"^voluntary_ctxt_switches:\s*(\d+)$", (task / "status").read_text(), re.M)
    assert found
    return int(found[1])


def _sleeps_a_signature(server: Server) -> float:
    """How often hashing threads slept, each with one long hash to do, for each refresh meanwhile."""
    with server.client() as client, ThreadPoolExecutor(CORES) as pool:
        accounts = list(pool.map(lambda _: client.new_account(), range(CORES)))
        token = client.sign_in(accounts[0]).refresh
        tasks = [t for t in Path(f"/proc/{server.process.pid}/task").iterdir()
                 if (t / "comm").read_text().strip() == "hash"]
        assert len(tasks) == CORES
        before = sum(map(_went_to_sleep, tasks))
        logins = [pool.submit(client.login, account) for account in accounts]
        refreshed = 0
        while not all(login.done() for login in logins):
            token = client.rotate(token).refresh
            refreshed += 1
        assert {login.result().status_code for login in logins} == {200}
        assert refreshed >= 8
        return (sum(map(_went_to_sleep, tasks)) - before) / refreshed


def test_signatures_pass_in_the_midst_of_a_hash(make_sqlite_server: ServerFactory) -> None:
    """And without that, hashing threads sleep next to never: the figure is of it and nothing else.
    Beside busy processes they do so less often, because signatures find them off their core."""
    ordinary = _sleeps_a_signature(make_sqlite_server(**LONG_HASH))
    defenceless = _sleeps_a_signature(
        make_sqlite_server(binary=fault_binary(), WATCHWORD_WITHOUT="right of way", **LONG_HASH))
    print(f"{ordinary:.2f} a signature, {defenceless:.2f} without")
    assert ordinary > 0.05 + 2 * defenceless
