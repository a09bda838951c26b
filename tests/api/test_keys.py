"""`watchword keys ...` and KEYS_DIR (contract section 9)."""
from __future__ import annotations

import json
import os
import stat
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from harness import keys
from harness.checks import RFC3339
from harness.keydir import PUBLISH_WAIT, RETIRE_WAIT, KeyDir
from harness.server import run_command


@pytest.fixture
def directory(tmp_path: Path) -> KeyDir:
    """With one key that was put there by hand."""
    made = KeyDir(tmp_path / "keys")
    made.write(keys.signing_key().pem)
    return made


def check(directory: KeyDir) -> tuple[int, str]:
    done = run_command(["check"], directory.settings)
    return done.code, done.text


def refused(directory: KeyDir, *names: str) -> None:
    """serve, check and keys list all end with exit code 1 and a line that has all of the names."""
    settings = {**directory.settings, "PORT": "1", "OPS_PORT": "2"}
    for command in (["serve"], ["check"], ["keys", "list"]):
        done = run_command(command, settings)
        assert done.code == 1, f"{command}: {done.text}"
        lines = [line for line in done.err.splitlines() if all(name in line for name in names)]
        assert lines, f"{command}: {names} are not in one line of {done.err}"
        assert "PRIVATE KEY" not in done.text


# What a key goes through


def test_one_pem_without_an_index_is_active(directory: KeyDir) -> None:
    """As before there were states; listing writes nothing."""
    assert directory.states() == {keys.signing_key().thumbprint: "active"}
    assert directory.names() == ["a.pem"]
    code, text = check(directory)
    assert code == 0 and keys.signing_key().thumbprint in text


def test_a_whole_rotation(directory: KeyDir) -> None:
    """generate, publish, wait, activate, wait, retire; what is too early is refused."""
    first = directory.active()
    made = directory.do("generate")
    second = made["kid"]
    assert made == {"kid": second, "state": "unpublished", "changed": True}
    assert directory.states() == {first: "active", second: "unpublished"}
    directory.do("publish", second)
    assert directory.states() == {first: "active", second: "next"}

    early = directory.run("activate", second)
    assert early.code == 1 and second in early.err and "wait" in early.err
    directory.shift(PUBLISH_WAIT - 60)
    assert directory.run("activate", second).code == 1
    directory.shift(60)
    assert directory.do("activate", second)["changed"]
    assert directory.states() == {first: "retiring", second: "active"}

    assert directory.run("retire", first).code == 1
    directory.shift(RETIRE_WAIT)
    assert directory.do("retire", first) == {"kid": first, "state": "gone", "changed": True}
    assert directory.states() == {second: "active"}
    assert check(directory)[0] == 0


def test_waits_do_not_depend_on_the_present_lifetime_of_tokens(directory: KeyDir) -> None:
    """A setting that was lowered, or is not set in this shell, says nothing of tokens that are out."""
    for minutes in ("1", "60"):
        told = directory.do("list", ACCESS_TOKEN_TTL_MINUTES=minutes)
        assert (told["publish_wait"], told["retire_wait"]) == (PUBLISH_WAIT, RETIRE_WAIT)
    first, _ = directory.rotate()
    directory.shift(RETIRE_WAIT - 60)
    assert directory.run("retire", first, ACCESS_TOKEN_TTL_MINUTES="1").code == 1
    directory.shift(60)
    assert directory.run("retire", first).code == 0


def test_a_clock_that_goes_back_shortens_nothing(directory: KeyDir) -> None:
    """What was published in the future has not been waited for."""
    kid = directory.publish_new()
    directory.shift(-86400)
    done = directory.run("activate", kid)
    assert done.code == 1 and str(PUBLISH_WAIT) in done.err


def test_an_emergency_waits_for_nothing_and_is_a_warning(directory: KeyDir) -> None:
    """activate and retire with --emergency; both say who asked."""
    first, second = directory.active(), directory.publish_new()
    done = directory.run("activate", second, "--emergency", "--yes")
    line = json.loads(done.err)
    assert done.code == 0 and line["event"] == "auth.key_activated"
    assert line["level"] == "warn" and line["kid"] == second and line["emergency"] == "true"
    assert line["operator_uid"] == os.getuid()
    assert directory.run("retire", first, "--emergency", "--yes").code == 0
    assert directory.states() == {second: "active"}


def test_what_was_done_before_is_no_change(directory: KeyDir) -> None:
    """publish, activate and revoke of what is that already."""
    first, second = directory.active(), directory.publish_new()
    assert directory.do("publish", second) == {"kid": second, "state": "next", "changed": False}
    assert directory.do("activate", first) == {"kid": first, "state": "active", "changed": False}
    directory.do("revoke", second, "--yes")
    again = directory.do("revoke", second, "--yes")
    assert again == {"kid": second, "state": "revoked", "changed": False}


def test_retire_takes_back_what_never_signed(directory: KeyDir) -> None:
    """A next key, and one that was not even published: their files go too."""
    kid, spare = directory.publish_new(), directory.do("generate")["kid"]
    directory.do("retire", kid)
    directory.do("retire", spare)
    assert list(directory.states().values()) == ["active"]
    assert directory.names(".pem") == ["a.pem"]


def test_the_active_key_does_not_retire(directory: KeyDir) -> None:
    """Not even in an emergency: something has to sign."""
    kid = directory.active()
    for options in ([], ["--emergency", "--yes"]):
        done = directory.run("retire", kid, *options)
        assert done.code == 1 and "active" in done.err
    assert directory.states() == {kid: "active"}


def test_own_pem_files_can_be_published(directory: KeyDir) -> None:
    """Made by other tools, under any name."""
    directory.do("generate")
    directory.write(keys.other_key().pem, "from-the-vault.pem")
    kid = keys.other_key().thumbprint
    assert directory.states()[kid] == "unpublished"
    directory.do("publish", kid)
    assert directory.states()[kid] == "next"


def test_the_kid_of_a_lone_key_stays_with_it(directory: KeyDir) -> None:
    """JWT_KID names the one key there is; later it means nothing."""
    directory.settings["JWT_KID"] = "2026-01"
    assert directory.states() == {"2026-01": "active"}
    _, second = directory.rotate()
    assert directory.states() == {"2026-01": "retiring", second: "active"}
    directory.shift(RETIRE_WAIT)
    directory.do("retire", "2026-01")
    assert directory.states() == {second: "active"}
    assert second in check(directory)[1]


# Revoking


def test_revoking_the_active_key_makes_a_successor_sign(directory: KeyDir) -> None:
    """With none next, one is made; the revoked key is never published again."""
    first = directory.active()
    assert directory.do("revoke", first, "--yes")["state"] == "revoked"
    assert directory.states()[first] == "revoked"
    second = directory.active()
    directory.write(keys.signing_key().pem, "again.pem")
    for command in (["publish"], ["activate", "--emergency", "--yes"]):
        done = directory.run(command[0], first, *command[1:])
        assert done.code == 1 and first in done.err
    assert directory.active() == second


def test_revoking_uses_the_key_that_is_next(directory: KeyDir) -> None:
    """However short a time it has been published."""
    first, second = directory.active(), directory.publish_new()
    directory.do("revoke", first, "--yes")
    assert directory.states() == {first: "revoked", second: "active"}


def test_revoking_is_logged(directory: KeyDir) -> None:
    """As a warning; and which key signs now."""
    first = directory.active()
    done = directory.run("revoke", first, "--yes")
    lines = [json.loads(line) for line in done.err.splitlines()]
    events = {line["event"]: line for line in lines}
    assert events["auth.key_revoked"]["kid"] == first
    assert events["auth.key_revoked"]["level"] == "warn"
    assert events["auth.key_activated"]["kid"] == directory.active()


def test_an_unpublished_key_can_be_revoked(directory: KeyDir) -> None:
    """Seen by somebody, so never to be used: its file goes, its kid stays known."""
    kid = directory.do("generate")["kid"]
    directory.do("revoke", kid, "--yes")
    assert directory.states()[kid] == "revoked"
    assert directory.names(".pem") == ["a.pem"]


# Private halves


def test_private_halves_end_with_their_use(directory: KeyDir) -> None:
    """A retiring, revoked or withdrawn key leaves no private half in the directory."""
    first, second = directory.rotate()
    assert len(directory.names(".pem")) == 1
    secret = keys.signing_key().pem.splitlines()[5].encode()
    assert secret not in directory.bytes()
    directory.do("revoke", second, "--yes")
    assert directory.names(".pem") == [f"key-{directory.active()}.pem"]
    assert directory.bytes().count(b"PRIVATE KEY-----\n") == 2
    assert set(directory.states().values()) == {"retiring", "revoked", "active"} and first
    for name in directory.names():
        assert stat.S_IMODE((directory.path / name).stat().st_mode) == 0o600


# Usage


def test_usage_and_exit_codes(directory: KeyDir) -> None:
    """2 for what is no command, 1 for what is refused."""
    kid = directory.active()
    for line in ("", "rename", "publish", "activate", "revoke --yes", f"publish {kid} {kid}",
                 f"publish {kid} --emergency", "list --yes", f"list {kid}", "generate --bits 4096",
                 f"retire {kid} --sessions", f"revoke {kid} --yes --yes"):
        assert directory.run(line).code == 2, line
    for line in ("publish nobody", "activate nobody", "retire nobody", "revoke nobody --yes"):
        done = directory.run(line)
        assert done.code == 1 and "nobody" in done.err, line
    assert directory.states() == {kid: "active"}


def test_what_destroys_asks(directory: KeyDir) -> None:
    """Without a terminal and --yes nothing happens."""
    first, second = directory.active(), directory.publish_new()
    for line in (f"revoke {first}", f"activate {second} --emergency", f"retire {second} --emergency"):
        done = directory.run(line)
        assert done.code == 1 and "--yes" in done.err
    assert directory.states() == {first: "active", second: "next"}


def test_keys_of_the_environment_are_left_alone(directory: KeyDir) -> None:
    """A clear refusal: there is nothing here to change."""
    for line in ("list", "generate", "publish x", "activate x", "retire x", "revoke x --yes"):
        done = directory.run(line, JWT_PRIVATE_KEY_PEM=keys.other_key().pem)
        assert done.code == 1 and "JWT_PRIVATE_KEY_PEM" in done.err and "KEYS_DIR" in done.err


def test_the_first_key_is_active(tmp_path: Path) -> None:
    """An empty place, in production too: generate is all it takes."""
    directory = KeyDir(tmp_path / "new" / "keys", {"ENV": "production"})
    assert directory.run("list").code == 1
    made = directory.do("generate")
    assert directory.states() == {made["kid"]: "active"}
    assert made["state"] == "active"


def test_list_shows_times_and_waits(directory: KeyDir) -> None:
    """For machines and for people."""
    first, second = directory.rotate()
    third = directory.publish_new()
    listed = {key["kid"]: key for key in directory.keys()}
    assert PUBLISH_WAIT - 5 <= listed[third]["may_sign_in"] <= PUBLISH_WAIT
    assert RETIRE_WAIT - 5 <= listed[first]["may_go_in"] <= RETIRE_WAIT
    for kid, name in ((first, "retired_at"), (second, "activated_at"), (third, "published_at")):
        assert RFC3339.fullmatch(listed[kid][name])
    lines = directory.run("list").out.splitlines()
    assert [line.split()[0] for line in lines] == ["retiring", "active", "next"]


# K1: badly protected keys are refused


@pytest.mark.parametrize("mode", [0o644, 0o660, 0o604, 0o620])
def test_a_key_that_others_may_touch_is_refused(directory: KeyDir, mode: int) -> None:
    """Also one that nothing refers to."""
    (directory.path / "a.pem").chmod(mode)
    refused(directory, "KEYS_DIR", "a.pem", "0600")
    (directory.path / "a.pem").chmod(0o600)
    directory.do("generate")
    assert check(directory)[0] == 0
    directory.write(keys.other_key().pem, "spare.pem", mode)
    refused(directory, "KEYS_DIR", "spare.pem")


def test_an_index_that_others_may_touch_is_refused(directory: KeyDir) -> None:
    """It decides which keys are trusted."""
    directory.publish_new()
    directory.index.chmod(0o606)
    refused(directory, "KEYS_DIR", "keyring.json")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_a_foreign_owner_is_refused(directory: KeyDir) -> None:
    """Of the file, of the directory."""
    os.chown(directory.path / "a.pem", 12345, 12345)
    refused(directory, "KEYS_DIR", "a.pem")
    os.chown(directory.path / "a.pem", 0, 0)
    os.chown(directory.path, 12345, 12345)
    refused(directory, "KEYS_DIR", str(directory.path))


def test_links_are_refused(directory: KeyDir, tmp_path: Path) -> None:
    """A key, an index or a directory that is one."""
    elsewhere = tmp_path / "elsewhere.pem"
    (directory.path / "a.pem").rename(elsewhere)
    (directory.path / "a.pem").symlink_to(elsewhere)
    refused(directory, "KEYS_DIR", "a.pem")
    (directory.path / "a.pem").unlink()
    elsewhere.rename(directory.path / "a.pem")
    link = tmp_path / "link"
    link.symlink_to(directory.path)
    refused(KeyDir(link), "KEYS_DIR", str(link))
    directory.publish_new()
    directory.index.rename(tmp_path / "index")
    directory.index.symlink_to(tmp_path / "index")
    refused(directory, "KEYS_DIR", "keyring.json")


@pytest.mark.parametrize("mode", [0o720, 0o702, 0o777])
def test_a_directory_that_others_may_write_to_is_refused(directory: KeyDir, mode: int) -> None:
    """Whoever may write to it may replace keys."""
    directory.path.chmod(mode)
    refused(directory, "KEYS_DIR", str(directory.path))
    directory.path.chmod(0o755)
    assert check(directory)[0] == 0


def test_a_world_writable_parent_is_refused_unless_sticky(tmp_path: Path) -> None:
    """/tmp is fine, /tmp without its sticky bit is not."""
    directory = KeyDir(tmp_path / "open" / "keys")
    directory.write(keys.signing_key().pem)
    directory.path.parent.chmod(0o777)
    refused(directory, "KEYS_DIR", str(directory.path))
    directory.path.parent.chmod(0o1777)
    assert check(directory)[0] == 0


# K2: weak and broken keys are refused


def _der(tag: int, body: bytes) -> bytes:
    size = len(body)
    if size < 128:
        return bytes([tag, size]) + body
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + body


def _integer(value: int) -> bytes:
    return _der(2, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def rsa_pem(**changes: int) -> str:
    """The signing key with some of its values replaced, which no library would write."""
    numbers = keys.signing_key().private.private_numbers()
    values = {"n": numbers.public_numbers.n, "e": numbers.public_numbers.e, "d": numbers.d,
              "p": numbers.p, "q": numbers.q, "dp": numbers.dmp1, "dq": numbers.dmq1,
              "qi": numbers.iqmp, **changes}
    der = _der(0x30, b"".join(_integer(v) for v in [0, *values.values()]))
    openssl = ["openssl", "pkcs8", "-topk8", "-nocrypt", "-inform", "DER"]
    return subprocess.run(openssl, input=der, capture_output=True, check=True).stdout.decode()


def _values() -> rsa.RSAPrivateNumbers:
    return keys.signing_key().private.private_numbers()


def _pem(key: object) -> str:
    return key.private_bytes(  # type: ignore[attr-defined]
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption()).decode()


def _openssl(*arguments: str) -> str:
    return subprocess.run(["openssl", *arguments], capture_output=True, check=True).stdout.decode()


def _close_primes() -> str:
    """Both factors from one small neighbourhood: Fermat finds them at once."""
    base = _values().p
    found = [base]
    candidate = base
    while len(found) < 2:
        candidate += 2
        if pow(2, candidate - 1, candidate) == 1 and (candidate - 1) % 65537 != 0:
            found.append(candidate)
    p, q = found[1], found[0]
    d = pow(65537, -1, (p - 1) * (q - 1))
    return rsa_pem(n=p * q, d=d, p=p, q=q, dp=d % (p - 1), dq=d % (q - 1), qi=pow(q, -1, p))


def _small_exponent(e: int) -> str:
    """A consistent key but for what it is."""
    while True:
        n = rsa.generate_private_key(65537, 2048).private_numbers()
        order = (n.p - 1) * (n.q - 1)
        try:
            d = pow(e, -1, order)
        except ValueError:
            continue
        return rsa_pem(n=n.p * n.q, e=e, d=d, p=n.p, q=n.q, dp=d % (n.p - 1), dq=d % (n.q - 1),
                       qi=n.iqmp)


BROKEN: dict[str, Callable[[], str]] = {
    "1024 bits": lambda: _openssl("genpkey", "-algorithm", "RSA", "-pkeyopt",
                                  "rsa_keygen_bits:1024"),
    "2047 bits": lambda: _openssl("genpkey", "-algorithm", "RSA", "-pkeyopt",
                                  "rsa_keygen_bits:2047"),
    "e = 1": lambda: rsa_pem(e=1, d=1, dp=1, dq=1),
    "e = 3": lambda: _small_exponent(3),
    "another modulus": lambda: rsa_pem(n=keys.other_key().private.private_numbers().p * _values().q),
    "n + 2": lambda: rsa_pem(n=_values().public_numbers.n + 2),
    "wrong d": lambda: rsa_pem(d=_values().d + 2),
    "wrong dp": lambda: rsa_pem(dp=_values().dmp1 + 2),
    "wrong dq": lambda: rsa_pem(dq=_values().dmq1 + 2),
    "wrong coefficient": lambda: rsa_pem(qi=_values().iqmp + 1),
    "close factors": _close_primes,
    "EC": lambda: _pem(ec.generate_private_key(ec.SECP256R1())),
    "public": lambda: keys.signing_key().public_pem,
    "truncated": lambda: keys.signing_key().pem[:900],
    "empty": lambda: "",
    "no PEM": lambda: "garbage\n",
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_weak_or_broken_key_is_refused(directory: KeyDir, what: str) -> None:
    """By name of its file: as the only key, and beside a good one."""
    pem = BROKEN[what]()
    bad = KeyDir(directory.path.parent / "bad")
    bad.write(pem, "bad.pem")
    refused(bad, "KEYS_DIR", "bad.pem")
    directory.do("generate")
    directory.write(pem, "bad.pem")
    refused(directory, "KEYS_DIR", "bad.pem")


def test_an_unchanged_key_of_the_same_making_is_taken(tmp_path: Path) -> None:
    """The control of the table above; and larger keys."""
    for name, pem in (("same", rsa_pem()), ("3072", keys.new_key(3072).pem),
                      ("4096", keys.new_key(4096).pem)):
        directory = KeyDir(tmp_path / name)
        directory.write(pem)
        code, text = check(directory)
        assert code == 0, text


def test_one_key_in_two_files_is_refused(directory: KeyDir) -> None:
    """Both are named."""
    directory.do("generate")
    directory.write(keys.signing_key().pem, "copy.pem")
    refused(directory, "KEYS_DIR", "copy.pem", "a.pem")


def test_two_keys_without_an_index_are_refused(directory: KeyDir) -> None:
    """Which of them signs would be chance."""
    directory.write(keys.other_key().pem, "b.pem")
    refused(directory, "KEYS_DIR", "keyring.json")


def test_primes_are_checked_by_check(directory: KeyDir) -> None:
    """Three factors pass for two; only the slow look of `check` sees it."""
    n = _values()
    p, q = n.p * 3, n.q
    while True:
        try:
            d = pow(65537, -1, (p - 1) * (q - 1))
            break
        except ValueError:
            p += n.p
    pem = rsa_pem(n=p * q, d=d, p=p, q=q, dp=d % (p - 1), dq=d % (q - 1), qi=pow(q, -1, p))
    directory.write(pem)
    code, text = check(directory)
    assert code == 1 and "KEYS_DIR" in text, text


# keyring.json


def test_a_faulty_index_is_refused(directory: KeyDir) -> None:
    """Whatever it says that this version does not know, or that cannot be."""
    kid = directory.publish_new()
    good = directory.read_index()

    def with_key(at: int, **changes: object) -> dict[str, object]:
        copy = json.loads(json.dumps(good))
        copy["keys"][at].update(changes)
        return copy

    bad = {
        "no JSON": "{", "empty": "", "list": "[]", "version": {**good, "version": 2},
        "no keys": {"version": 1}, "other member": {**good, "x": 1},
        "keys no list": {"version": 1, "keys": {}}, "none": {"version": 1, "keys": []},
        "key no object": {"version": 1, "keys": ["x"]},
        "too many": {"version": 1, "keys": good["keys"] * 9},
        "twice": {"version": 1, "keys": good["keys"] + good["keys"][:1]},
        "two active": with_key(1, state="active"), "none active": with_key(0, state="next"),
        "state": with_key(0, state="odd"), "state type": with_key(0, state=1),
        "kid type": with_key(0, kid=7), "kid": with_key(0, kid=""), "kid long": with_key(0, kid="k" * 129),
        "same kid": with_key(0, kid=kid), "member": with_key(0, x=1),
        "time": with_key(0, created_at="yesterday"), "time negative": with_key(0, created_at=-1),
        "time fraction": with_key(0, created_at=1.5),
        "public key": with_key(0, public_key="x"),
        "public key of another": with_key(0, public_key=keys.other_key().public_pem),
        "huge": json.dumps(good) + " " * 70000,
    }
    for what, index in bad.items():
        directory.write_index(index)
        done = run_command(["check"], directory.settings)
        assert done.code == 1 and "keyring.json" in done.err, f"{what}: {done.text}"
    directory.write_index(good)
    assert check(directory)[0] == 0


def test_a_missing_private_half_is_refused(directory: KeyDir) -> None:
    """What is to sign must be able to."""
    kid = directory.publish_new()
    (directory.path / f"key-{kid}.pem").unlink()
    refused(directory, "KEYS_DIR", "keyring.json", "private")


# Two at once


def test_changes_come_one_after_the_other(directory: KeyDir) -> None:
    """Four operators at once: every key is there, none twice, the file is whole."""
    directory.do("generate")
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: directory.publish_new(), range(8)))
    states = directory.states()
    assert len(set(made)) == 8
    assert all(states[kid] == "next" for kid in made)
    assert len(directory.kids("active")) == 1


def test_a_held_lock_is_waited_for_then_named(directory: KeyDir) -> None:
    """Fifteen seconds; nothing is changed."""
    lock = directory.path / "keyring.lock"
    lock.touch(mode=0o600)
    holder = subprocess.Popen(["flock", str(lock), "sleep", "60"])
    try:
        time.sleep(0.3)
        done = directory.run("generate")
    finally:
        holder.kill()
        holder.wait()
    assert done.code == 1 and "keyring.lock" in done.err
    assert directory.names(".pem") == ["a.pem"]


def test_readers_never_see_half_a_change(directory: KeyDir) -> None:
    """`check` beside a storm of rotations: always one valid set."""
    directory.do("generate")
    failures: list[str] = []
    end = time.monotonic() + 6

    def read() -> None:
        while time.monotonic() < end:
            code, text = check(directory)
            if code != 0:
                failures.append(text)

    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        while time.monotonic() < end:
            first, second = directory.active(), directory.publish_new()
            directory.do("activate", second, "--emergency", "--yes")
            directory.do("retire", first, "--emergency", "--yes")
        for reader in readers:
            reader.result()
    assert not failures, failures[0]
