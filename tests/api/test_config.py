"""Settings: nonsense stops the start, and is named (contract section 10)."""
from __future__ import annotations

import base64
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from harness import keys, ports
from harness.client import Account
from harness.fixtures import ServerFactory
from harness.server import Finished, Settings, environment, run_command
from harness.settings import default_settings, service_binary, slowness

Configure = Callable[..., Settings]


@pytest.fixture
def settings(tmp_path: Path) -> Configure:
    """Complete good settings, with changes."""

    def make(**changes: str | None) -> Settings:
        whole: Settings = {
            **default_settings(),
            "DATA_DIR": str(tmp_path / "data"),
            "DATABASE_URL": f"sqlite:{tmp_path}/watchword.db",
            "PORT": str(ports.free_port()),
            "OPS_PORT": str(ports.free_port()),
        }
        whole.update(changes)
        return whole

    return make


def production(settings: Configure, **changes: str | None) -> Settings:
    """Everything production asks for."""
    whole: Settings = {"ENV": "production", "REGISTER_TOKEN": "register-token-0123456789abcdef"}
    whole.update(changes)
    return settings(**whole)


def assert_refused(done: Finished, *names: str) -> None:
    """Exit 1, and stderr names one of the variables that could be meant."""
    assert done.code == 1, f"exit {done.code}: {done.text}"
    assert any(name in done.err for name in names), f"{names} not named: {done.err}"


def _pem(bits: int) -> str:
    return keys.new_key(bits).pem


def _ec_pem() -> str:
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


GOOD_PEPPER = base64.b64encode(bytes(range(32))).decode()
NUMBERS = {
    "PORT": ["70000", "-1"],
    "OPS_PORT": ["65536"],
    "DB_POOL_SIZE": ["0", "-1", "1000000"],
    "DB_TIMEOUT_MS": ["0", "-5"],
    "ACCESS_TOKEN_TTL_MINUTES": ["0", "61", "-15"],
    "KEYS_ROTATE_DAYS": ["0", "3651", "-1"],
    "REFRESH_TOKEN_TTL_DAYS": ["0", "-1"],
    "REFRESH_IDLE_MINUTES": ["0", "-1"],
    "REFRESH_ABSOLUTE_MAX_DAYS": ["0", "-1"],
    "REFRESH_LEEWAY_SECONDS": ["-1", "61"],
    "MAX_SESSIONS_PER_USER": ["0", "-1"],
    "SESSION_RETENTION_DAYS": ["-1", "3651"],
    "CLIENT_DATA_RETENTION_DAYS": ["0", "-1", "3651"],
    "ARGON_MEMORY_KB": ["0", "-1", "7168", "12287", "999999999"],
    "ARGON_ITERATIONS": ["0", "-1"],
    "ARGON_PARALLELISM": ["0", "-1", "1000"],
    "MAX_CONCURRENT_HASHES": ["0", "-1", "1000000"],
    "HASH_ACQUIRE_TIMEOUT_MS": ["-1"],
    "LOCKOUT_THRESHOLD": ["0", "-1"],
    "LOCKOUT_MINUTES": ["0", "-1"],
    "LOGIN_PER_MIN_PER_EMAIL": ["0", "-1"],
    "REGISTER_PER_MIN_PER_EMAIL": ["0", "-1"],
    "REFRESH_PER_MIN_PER_TOKEN": ["0", "-1"],
    "IP_RL_PER_SECOND": ["0", "-1"],
    "IP_RL_BURST": ["0", "-1"],
    "CONNECTIONS_PER_ADDRESS": ["0", "-1", "8193"],
    "EVENTS_BACKLOG_MAX": ["0", "99", "-1"],
    "PASSWORD_MIN_LENGTH": ["7", "65", "-1"],
    "PASSWORD_MAX_LENGTH": ["0", "-1", "10"],
    "PASSWORD_MIN_SCORE": ["-1", "5"],
}
NO_NUMBER = ["abc", "10x", "1.5", "0x10", "1e1", "99999999999999999999", "--1", "1 0", "\u0661"]
WORDS = {
    "ENV": ["staging", "PRODUCTION1", "dev"],
    "REFRESH_DELIVERY": ["header", "Body", "body,cookie"],
    "LOG_LEVEL": ["loud", "1x"],
    "REGISTER_OPEN": ["maybe", "2"],
    "METRICS_PUBLIC": ["maybe", "2"],
    "HOST": ["not an address", "300.1.1.1"],
    "OPS_HOST": ["not an address", "300.1.1.1"],
    "DATABASE_URL": ["mysql://localhost/x", "sqlite:", "sqlite::memory:", "/tmp/x.db",
                     "http://localhost"],
    "NATS_URL": ["http://localhost:4222", "not a url", "nats://", "nats://host:port", "nats://h:0",
                 "nats://h:4222/path", "nats://u:p@", "tls://h,", "nats://h,nats://[::1"],
    "JWT_EXTRA_CLAIMS": ["{", "[]", "1", '"x"', "null", '{"a":1,"a":2}', '{"a":1} x'],
    "JWT_PRIVATE_KEY_PEM": [
        "garbage", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----",
    ],
    "SERVICE_SECRET": ["x", "short-secret-of-thirty-1-bytes!", "0123456789abcdef"],
    "SERVICE_SECRET_PREVIOUS": ["x", "0123456789abcdef"],
    "REGISTER_TOKEN": ["x", "of-15-bytes-abc"],
    "PASSWORD_PEPPER": [
        "x", "k1", "k1:", f":{GOOD_PEPPER}", "k1:!!!!", "k1:AAAA",
        f"k1:{GOOD_PEPPER},k1:{GOOD_PEPPER}", f"k 1:{GOOD_PEPPER}", f"k$1:{GOOD_PEPPER}",
    ],
    "TRUSTED_PROXIES": ["x", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0/8", "::1/129", "10.0.0.0/8x",
                        "none,::1"],
    "CORS_ORIGINS": ["app.example", "https://app.example/path", "ftp://x", "https://"],
    "EVENTS_EXCLUDE": ["auth.nonsense", "auth.user_registered,", "user_registered"],
}
BAD = [(n, v) for table in (NUMBERS, WORDS) for n, values in table.items() for v in values]


@pytest.mark.parametrize("name,value", BAD)
def test_bad_value_stops_the_start(settings: Configure, name: str, value: str) -> None:
    """Exit 1 before listening, naming the variable, for serve and for check."""
    changed = settings(**{name: value})
    assert_refused(run_command(["serve"], changed), name)
    done = run_command(["check"], changed)
    assert done.code == 1 and name in done.text


@pytest.mark.parametrize("name", sorted(NUMBERS))
def test_what_is_no_number_stops_the_start(settings: Configure, name: str) -> None:
    """Letters, fractions, other bases, overflow, other digits."""
    for value in NO_NUMBER:
        done = run_command(["check"], settings(**{name: value}))
        assert done.code == 1, f"{name}={value} was taken"
        assert name in done.text
    assert_refused(run_command(["serve"], settings(**{name: "10x"})), name)


@pytest.mark.parametrize("memory,passes", [
    ("47103", "1"), ("7168", "1"), ("19455", "2"), ("12288", "2"), ("12287", "3"), ("8", "10"),
])
def test_argon_below_the_floor_is_refused(settings: Configure, memory: str, passes: str) -> None:
    """The OWASP floor: 46 MiB/1, 19 MiB/2, 12 MiB/3."""
    done = run_command(["serve"], settings(ARGON_MEMORY_KB=memory, ARGON_ITERATIONS=passes))
    assert_refused(done, "ARGON_MEMORY_KB", "ARGON_ITERATIONS")


@pytest.mark.parametrize("memory,passes", [("47104", "1"), ("19456", "2"), ("12288", "3")])
def test_argon_at_the_floor_is_taken(settings: Configure, memory: str, passes: str) -> None:
    """Exactly the three points."""
    done = run_command(["check"], settings(ARGON_MEMORY_KB=memory, ARGON_ITERATIONS=passes))
    assert done.code == 0, done.text


def _memory_kib() -> int:
    """Of the machine, or what a control group of the test allows."""
    known = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, own = line.split(":", 2)
        version1 = "memory" in controllers.split(",")
        name = "memory.limit_in_bytes" if version1 else "memory.max"
        root = Path("/sys/fs/cgroup/memory" if version1 else "/sys/fs/cgroup")
        for group in (root / own.strip("/"), *(root / own.strip("/")).parents):
            text = (group / name).read_text().strip() if (group / name).exists() else "max"
            if text.isdecimal():
                known.append(int(text))
    return min(known) // 1024


def test_hash_memory_beyond_the_machine_is_refused(settings: Configure) -> None:
    """Permits times memory must be less than there is, to the KiB."""
    permits = 128
    each = _memory_kib() // permits
    if not 7168 < each < 4194303:
        pytest.skip(f"{each} KiB for each of {permits} permits is no setting")
    good = {"ARGON_ITERATIONS": "5", "MAX_CONCURRENT_HASHES": str(permits)}
    too_much = settings(ARGON_MEMORY_KB=str(each + 1), **good)
    for command in ("check", "serve"):
        done = run_command([command], too_much)
        assert_refused(done, "MAX_CONCURRENT_HASHES")
        assert f"x ARGON_MEMORY_KB needs {permits * (each + 1) // 1024} MiB" in done.err
    done = run_command(["check"], settings(ARGON_MEMORY_KB=str(each - 1), **good))
    assert done.code == 0, done.text


@pytest.mark.parametrize("line,file", [
    ("0::/", "memory.max"),
    ("0::/system.slice/watchword.service", "system.slice/watchword.service/memory.max"),
    ("0::/system.slice/watchword.service", "system.slice/memory.max"),
    ("0::/../of/the/host", "memory.max"),
    ("4:cpu,memory:/a/b", "memory/a/b/memory.limit_in_bytes"),
    ("4:memory:/a/b", "memory/memory.limit_in_bytes"),
])
def test_hash_memory_beyond_the_cgroup_is_refused(settings: Configure, tmp_path: Path, line: str,
                                                  file: str) -> None:
    """systemd's MemoryMax is that of the unit's own cgroup: told at the start, not by the kernel."""
    limit = tmp_path / "cgroup" / file
    limit.parent.mkdir(parents=True)
    limit.write_text("104857600\n")
    (tmp_path / "own").write_text(f"1:name=systemd:/x\n{line}\n")
    show = (f'mount --bind "{tmp_path}/cgroup" /sys/fs/cgroup &&'
            f' mount --bind "{tmp_path}/own" /proc/$$/cgroup')
    if subprocess.run(["unshare", "-rm", "sh", "-c", show], capture_output=True).returncode != 0:
        pytest.skip("no namespaces to show other cgroups in")
    for permits, code in (("8", 1), ("4", 0)):
        done = subprocess.run(
            ["unshare", "-rm", "sh", "-c", f'{show} && exec "$0" check', str(service_binary())],
            env=environment(settings(MAX_CONCURRENT_HASHES=permits)), capture_output=True,
            timeout=8 * slowness())
        assert done.returncode == code, done.stderr
        assert (b"MAX_CONCURRENT_HASHES x ARGON_MEMORY_KB needs" in done.stderr) == (code == 1)


def test_weak_keys_are_refused(settings: Configure) -> None:
    """RSA below 2048 bits, and what is no RSA key."""
    for pem in (_pem(1024), _pem(2047), _ec_pem(), keys.signing_key().public_pem):
        assert_refused(run_command(["serve"], settings(JWT_PRIVATE_KEY_PEM=pem)),
                       "JWT_PRIVATE_KEY_PEM")


def test_previous_key_needs_both_halves(settings: Configure) -> None:
    """JWT_PREV_PUBLIC_KEY_PEM and JWT_PREV_KID: both or neither."""
    pem = keys.other_key().public_pem
    names = ("JWT_PREV_PUBLIC_KEY_PEM", "JWT_PREV_KID")
    assert_refused(run_command(["serve"], settings(JWT_PREV_PUBLIC_KEY_PEM=pem)), *names)
    assert_refused(run_command(["serve"], settings(JWT_PREV_KID="old")), *names)
    bad = settings(JWT_PREV_PUBLIC_KEY_PEM="garbage", JWT_PREV_KID="old")
    assert_refused(run_command(["serve"], bad), names[0])
    same = settings(JWT_PREV_PUBLIC_KEY_PEM=pem, JWT_PREV_KID="a", JWT_KID="a")
    assert_refused(run_command(["serve"], same), *names, "JWT_KID")
    good = settings(JWT_PREV_PUBLIC_KEY_PEM=pem, JWT_PREV_KID="old")
    assert run_command(["check"], good).code == 0


@pytest.mark.parametrize("kid", ["a b", "\u00fc", 'a"b', "x" * 129])
def test_a_kid_is_looked_at_before_there_is_a_key(settings: Configure, kid: str) -> None:
    """`check` does not praise what `serve` would refuse once it has made a key."""
    for command in ("check", "serve"):
        done = run_command([command], settings(JWT_PRIVATE_KEY_PEM=None, JWT_KID=kid))
        assert_refused(done, "JWT_KID must be 1 to 128")


def test_unknown_watchword_variable_stops_the_start(settings: Configure) -> None:
    """A typing error is not a default. The release has no failure points either."""
    for name in ("WATCHWORD_FOO", "WATCHWORD_PORT", "WATCHWORD_FAIL_AT", "WATCHWORD_"):
        assert_refused(run_command(["serve"], settings(**{name: "1"})), name)
        done = run_command(["check"], settings(**{name: "1"}))
        assert done.code == 1 and name in done.text


def test_check_lists_all_problems_at_once(settings: Configure) -> None:
    """Five mistakes, five names, exit 1."""
    bad = {"PORT": "x", "LOCKOUT_MINUTES": "0", "REFRESH_DELIVERY": "air", "SERVICE_SECRET": "x",
           "WATCHWORD_X": "1"}
    done = run_command(["check"], settings(**bad))
    assert done.code == 1
    missing = [name for name in bad if name not in done.text]
    assert not missing, f"{missing} not in {done.text}"


def test_check_is_content_with_good_settings(settings: Configure) -> None:
    """Exit 0, in development with nothing set and in production with everything."""
    assert run_command(["check"], settings()).code == 0
    bare = {name: None for name in settings()} | {"DATA_DIR": settings()["DATA_DIR"]}
    assert run_command(["check"], bare).code == 0
    done = run_command(["check"], production(settings))
    assert done.code == 0, done.text


# Production


@pytest.mark.parametrize("name,also", [
    ("DATABASE_URL", ()), ("SERVICE_SECRET", ()), ("JWT_PRIVATE_KEY_PEM", ("KEYS_DIR",)),
    ("JWT_ISSUER", ()), ("JWT_AUDIENCE", ()), ("REGISTER_TOKEN", ("REGISTER_OPEN",)),
])
def test_production_refuses_defaults(
    settings: Configure, name: str, also: tuple[str, ...]
) -> None:
    """Each of these must be said; `check` and `serve` name the one that is not."""
    changed = production(settings, **{name: None})
    assert_refused(run_command(["serve"], changed), name, *also)
    done = run_command(["check"], changed)
    assert done.code == 1 and any(one in done.text for one in (name, *also)), done.text


def test_production_lists_all_it_misses(settings: Configure) -> None:
    """With nothing but ENV=production all are named at once."""
    bare = {name: None for name in settings()}
    done = run_command(["check"], {**bare, "ENV": "production", "DATA_DIR": "/nonexistent"})
    assert done.code == 1
    for name in ("DATABASE_URL", "SERVICE_SECRET", "JWT_ISSUER", "JWT_AUDIENCE"):
        assert name in done.text


def test_production_with_open_registration(settings: Configure) -> None:
    """REGISTER_OPEN=true replaces the token, REGISTER_OPEN=false does not."""
    opened = production(settings, REGISTER_TOKEN=None, REGISTER_OPEN="true")
    assert run_command(["check"], opened).code == 0
    closed = production(settings, REGISTER_TOKEN=None, REGISTER_OPEN="false")
    assert_refused(run_command(["serve"], closed), "REGISTER_TOKEN", "REGISTER_OPEN")


def test_production_refuses_the_cors_star(settings: Configure) -> None:
    """`*` with credentials is nobody's wish."""
    assert_refused(run_command(["serve"], production(settings, CORS_ORIGINS="*")), "CORS_ORIGINS")


# Secrets


SECRETS = {
    "SERVICE_SECRET": "canary-service-secret-0123456789abcdef",
    "SERVICE_SECRET_PREVIOUS": "canary-previous-secret-0123456789abcdef",
    "REGISTER_TOKEN": "canary-register-token-0123456789abcdef",
    "PASSWORD_PEPPER": "k1:" + base64.b64encode(b"canary-pepper-0123456789abcdef!!").decode(),
    "DATABASE_URL": "postgresql://user:canary-password@127.0.0.1:1/db",
    "NATS_URL": "nats://user:canary-nats@127.0.0.1:1",
}


def assert_no_canary(text: str) -> None:
    pepper = SECRETS["PASSWORD_PEPPER"].partition(":")[2]
    for canary in ("canary", pepper, *keys.signing_key().pem.splitlines()[1:-1]):
        assert canary not in text, f"{canary!r} is printed"


def test_secrets_are_never_printed(settings: Configure) -> None:
    """Not by check, not by a refused start, not by a command that cannot reach the database."""
    for changes in ({}, {"PORT": "x"}, {"ENV": "production", "JWT_ISSUER": None}):
        for command in (["check"], ["serve"], ["migrate"], ["migrate", "--status"]):
            if command == ["serve"] and not changes:
                continue
            done = run_command(command, settings(**SECRETS, **changes), timeout=30)
            assert_no_canary(done.text)


@pytest.mark.parametrize("name,value", [
    ("SERVICE_SECRET", "canary-short"), ("SERVICE_SECRET_PREVIOUS", "canary-short"),
    ("PASSWORD_PEPPER", "k1:canary***"), ("PASSWORD_PEPPER", "canary-without-colon"),
    ("DATABASE_URL", "mysql://user:canary-password@host/db"),
    ("DATABASE_URL", "postgresql://user:canary-password@host:port/db"),
    ("JWT_PRIVATE_KEY_PEM", "-----BEGIN PRIVATE KEY-----\ncanary\n-----END PRIVATE KEY-----"),
    ("NATS_URL", "http://user:canary@host"), ("NATS_URL", "nats://user:canary@host:canary"),
])
def test_bad_secrets_are_not_printed_either(settings: Configure, name: str, value: str) -> None:
    """The message names the variable, not what is in it."""
    for command in ("check", "serve"):
        done = run_command([command], settings(**{name: value}), timeout=30)
        assert done.code == 1
        assert name in done.text
        assert_no_canary(done.text)


# NAME_FILE


@pytest.mark.parametrize("name", [
    "SERVICE_SECRET", "JWT_PRIVATE_KEY_PEM", "DATABASE_URL", "REGISTER_TOKEN", "PASSWORD_PEPPER",
    "NATS_URL",
])
def test_secret_from_a_file(
    settings: Configure, make_sqlite_server: ServerFactory, tmp_path: Path, name: str
) -> None:
    """NAME_FILE holds the value, with or without a line end after it."""
    values = {**SECRETS, "JWT_PRIVATE_KEY_PEM": keys.signing_key().pem,
              "DATABASE_URL": f"sqlite:{tmp_path}/from-file.db"}
    file = tmp_path / "secret"
    for ending in ("", "\n"):
        file.write_text(values[name].rstrip("\n") + ending)
        file.chmod(0o600)
        changed = production(settings, **{name: None, f"{name}_FILE": str(file)})
        done = run_command(["check"], changed)
        assert done.code == 0, done.text
    server = make_sqlite_server(**{name: None, f"{name}_FILE": str(file)})
    with server.client() as client:
        if name == "REGISTER_TOKEN":
            bearer = {"Authorization": f"Bearer {values[name]}"}
            assert client.register(Account()).status_code == 401
            assert client.register(Account(), headers=bearer).status_code == 200
        else:
            client.new_session()
    if name == "DATABASE_URL":
        assert (tmp_path / "from-file.db").exists()


def test_secret_file_that_is_not_there(settings: Configure, tmp_path: Path) -> None:
    """Missing, a folder, or empty: exit 1 naming the variable."""
    empty = tmp_path / "empty"
    empty.touch(mode=0o600)
    for path in (tmp_path / "missing", tmp_path, empty):
        changed = settings(SERVICE_SECRET=None, SERVICE_SECRET_FILE=str(path))
        assert_refused(run_command(["serve"], changed), "SERVICE_SECRET_FILE", "SERVICE_SECRET")


def test_service_secret_has_a_floor_of_32_bytes(settings: Configure) -> None:
    """31 are refused, 32 are taken."""
    assert_refused(run_command(["serve"], settings(SERVICE_SECRET="s" * 31)), "SERVICE_SECRET")
    assert run_command(["check"], settings(SERVICE_SECRET="0123456789abcdef" * 2)).code == 0


def test_limits_at_their_ends_are_taken(settings: Configure) -> None:
    """The ends of the documented ranges, and a million for every rate."""
    ends = {
        "ACCESS_TOKEN_TTL_MINUTES": ["1", "60"], "REFRESH_LEEWAY_SECONDS": ["0", "60"],
        "PASSWORD_MIN_LENGTH": ["8", "64"], "PASSWORD_MIN_SCORE": ["0", "4"],
        "LOGIN_PER_MIN_PER_EMAIL": ["1", "1000000"], "REGISTER_PER_MIN_PER_EMAIL": ["1000000"],
        "REFRESH_PER_MIN_PER_TOKEN": ["1000000"], "IP_RL_PER_SECOND": ["1", "1000000"],
        "IP_RL_BURST": ["1", "1000000"], "CONNECTIONS_PER_ADDRESS": ["1", "8192"],
        "REFRESH_DELIVERY": ["body", "cookie", "both"],
        "SESSION_RETENTION_DAYS": ["0", "3650"], "CLIENT_DATA_RETENTION_DAYS": ["1", "3650"],
        "MAX_CONCURRENT_HASHES": ["1", "4"], "METRICS_PUBLIC": ["true", "false"],
        "TRUSTED_PROXIES": ["10.0.0.0/8", "::1", "127.0.0.1,2001:db8::/32", "0.0.0.0/0", "none"],
    }
    for name, values in ends.items():
        for value in values:
            done = run_command(["check"], settings(**{name: value}))
            assert done.code == 0, f"{name}={value}: {done.text}"
