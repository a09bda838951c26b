"""A change of the keys is killed at a named point: the directory holds the keys of before or after.

Then the same change is asked for again, and must leave no trace of the crash.
"""
from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from harness import keys
from harness.keydir import PUBLISH_WAIT, KeyDir
from harness.server import run_command
from harness.settings import fault_binary

KILLED = -9

COMMIT = ["keys.commit", "file.part", "keys.committed"]
DESTROY = ["file.renamed", "file.overwritten"]
GENERATE = ["keys.generate", "file.part", "file.linked", "keys.generated"]

Change = tuple[str, Callable[[str, str, str], list[str]], list[str]]

# What is done to the active key, the next one or the one that waits, and where it can be killed.
CHANGES: list[Change] = [
    ("generate", lambda active, following, spare: ["generate"], GENERATE),
    ("publish", lambda active, following, spare: ["publish", spare], COMMIT),
    ("activate", lambda active, following, spare: ["activate", following], COMMIT + DESTROY),
    ("withdraw", lambda active, following, spare: ["retire", following], COMMIT + DESTROY),
    ("discard", lambda active, following, spare: ["retire", spare], DESTROY),
    ("revoke", lambda active, following, spare: ["revoke", active, "--yes"], COMMIT + DESTROY),
    ("revoke the next", lambda active, following, spare: ["revoke", following, "--yes"],
     COMMIT + DESTROY),
    ("revoke a spare", lambda active, following, spare: ["revoke", spare, "--yes"],
     COMMIT + DESTROY),
]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """One active key, one that may be activated, one that waits to be published."""
    directory = KeyDir(tmp_path_factory.mktemp("prepared") / "keys", binary=fault_binary())
    directory.write(keys.signing_key().pem)
    active, following = directory.active(), directory.publish_new()
    directory.shift(PUBLISH_WAIT)
    return directory.path, [active, following, directory.do("generate")["kid"]]


def _assert_sound(directory: KeyDir) -> None:
    """A service would start from it."""
    done = run_command(["check"], directory.settings, binary=fault_binary())
    assert done.code == 0, done.text
    assert len(directory.kids("active")) == 1


def _assert_tidy(directory: KeyDir) -> None:
    """Private halves of keys that sign, will, or wait; nothing half-written or half-destroyed."""
    states = directory.states()
    needed = [kid for kid, state in states.items() if state in ("next", "active", "unpublished")]
    assert len(directory.names(".pem")) == len(needed), (directory.names(), states)
    assert directory.bytes().count(b"-----BEGIN PRIVATE KEY-----") == len(needed)
    odd = [n for n in directory.names() if not re.fullmatch(r".*\.pem|keyring\.(json|lock)", n)]
    assert not odd


@pytest.mark.parametrize("name,arguments,point", [
    (name, arguments, point) for name, arguments, points in CHANGES for point in points
])
def test_killed_change_is_whole_or_nothing(
    tmp_path: Path, prepared: tuple[Path, list[str]], name: str,
    arguments: Callable[[str, str, str], list[str]], point: str,
) -> None:
    """Killed at the point, then asked for again."""
    source, kids = prepared
    shutil.copytree(source, tmp_path / "keys")
    directory = KeyDir(tmp_path / "keys", binary=fault_binary())
    command, *rest = arguments(*kids)
    before = directory.states()
    killed = directory.run(command, *rest, WATCHWORD_FAIL_AT=point)
    assert killed.code == KILLED, killed.text
    _assert_sound(directory)
    seen = directory.states()
    directory.run(command, *rest)
    after = directory.states()
    assert after != before
    # The file of a key that is withdrawn goes last: until then it waits to be published.
    halfway = {**before, kids[1]: "unpublished"} if name == "withdraw" else before
    assert name == "generate" or seen in (before, halfway, after)
    _assert_sound(directory)
    _assert_tidy(directory)


@pytest.mark.parametrize("point", ["keys.adopted", *GENERATE, *COMMIT[2:], *DESTROY])
def test_killed_emergency_has_a_successor(tmp_path: Path, point: str) -> None:
    """The only key there is, without an index, is revoked: one signs, whenever the power goes."""
    directory = KeyDir(tmp_path / "keys", binary=fault_binary())
    directory.write(keys.signing_key().pem)
    first = keys.signing_key().thumbprint
    assert directory.run("revoke", first, "--yes", WATCHWORD_FAIL_AT=point).code == KILLED
    _assert_sound(directory)
    assert directory.run("revoke", first, "--yes").code == 0
    _assert_sound(directory)
    assert directory.states()[first] == "revoked"
    for kid in directory.kids("unpublished"):
        directory.do("retire", kid)
    _assert_tidy(directory)
