"""Where the programs under test are, which stores to use, and the settings tests start with."""
from __future__ import annotations

import hmac
import os
import secrets
from pathlib import Path

import pytest

from . import keys

REPO = Path(__file__).resolve().parents[3]
STORES = ("sqlite", "postgres")

ISSUER = "https://auth.watchword.test"
AUDIENCE = "watchword-tests"
NO_LIMIT = "1000000"

# Variables of our own environment that sanitizers, coverage and the C library need.
PASSED_THROUGH = (
    "PATH",
    "LANG",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "ASAN_OPTIONS",
    "UBSAN_OPTIONS",
    "TSAN_OPTIONS",
    "LSAN_OPTIONS",
    "LLVM_PROFILE_FILE",
    "GCOV_PREFIX",
    "GCOV_PREFIX_STRIP",
)

SANITIZER_MARKS = (
    "ERROR: AddressSanitizer",
    "runtime error:",
    "WARNING: ThreadSanitizer",
    "LeakSanitizer",
    "WARNING: MemorySanitizer",
)


def slowness() -> float:
    """How many times slower than a release build the program may be (sanitizers: 10)."""
    return float(os.environ.get("WATCHWORD_TEST_SLOW", "1"))


def prompt_slack() -> float:
    """Seconds that a prompt answer may be later than promised: 0.2, or 1.5 on a machine that has more
    to do than cores to do it with."""
    return 0.2 if os.getloadavg()[0] <= (os.cpu_count() or 1) else 1.5


def race_rounds() -> int:
    """Rounds of each refresh race; 1,000 for the big proof."""
    return int(os.environ.get("WATCHWORD_RACE_ROUNDS", "20"))


def selected_stores() -> list[str]:
    """The stores named by WATCHWORD_TEST_STORES, both by default."""
    names = [n for n in os.environ.get("WATCHWORD_TEST_STORES", ",".join(STORES)).split(",") if n]
    unknown = sorted(set(names) - set(STORES))
    if unknown or not names:
        raise ValueError(f"WATCHWORD_TEST_STORES: unknown store {unknown or 'list is empty'}")
    return names


def _binary(variable: str, default: str) -> Path:
    path = Path(os.environ.get(variable, str(REPO / default))).resolve()
    if not os.access(path, os.X_OK):
        raise AssertionError(f"no program at {path}: build it first or set {variable}")
    return path


def service_binary() -> Path:
    """The program under test."""
    return _binary("WATCHWORD_BIN", "build/watchword")


def fault_binary() -> Path:
    """The build that can kill itself at a named point."""
    return _binary("WATCHWORD_FAULT_BIN", "build-fault/watchword")


def _is_linked(*libraries: bytes) -> bool:
    program = service_binary().read_bytes()
    return any(library in program for library in libraries)


def not_under_tsan(reason: str) -> pytest.MarkDecorator:
    """For what ThreadSanitizer itself stands in the way of."""
    return pytest.mark.skipif(_is_linked(b"libtsan.so"), reason=f"ThreadSanitizer: {reason}")


def searches_memory() -> pytest.MarkDecorator:
    """For who reads all memory of a process: sanitizers map terabytes of their own."""
    return pytest.mark.skipif(_is_linked(b"libtsan.so", b"libasan.so"),
                              reason="the sanitizer's own memory is too large to be searched")


def preloaded(library: Path) -> dict[str, str]:
    """The variables that put a library before all others. AddressSanitizer, which wants to be the
    first, is told that it is not."""
    options = (os.environ.get("ASAN_OPTIONS", ""), "verify_asan_link_order=0")
    return {"LD_PRELOAD": str(library), "ASAN_OPTIONS": ":".join(o for o in options if o)}


def _secret_id(secret: str) -> bytes:
    """As the service derives it: HKDF-SHA-256 (RFC 5869) without salt, one byte."""
    key = hmac.digest(bytes(32), secret.encode(), "sha256")
    return hmac.digest(key, b"watchword/1 secret id\x01", "sha256")[:1]


def new_secret(*others: str) -> str:
    """A SERVICE_SECRET whose id is none of the others' (one in 256 would be refused)."""
    while True:
        secret = secrets.token_hex(32)
        if _secret_id(secret) not in [_secret_id(other) for other in others]:
            return secret


def clean_environment() -> dict[str, str]:
    """Nothing of the caller's environment but what programs need to run at all."""
    return {name: os.environ[name] for name in PASSED_THROUGH if name in os.environ}


def default_settings() -> dict[str, str]:
    """Development, the Argon2 floor, own key and secret, no rate limit in the way."""
    return {
        "ENV": "development",
        "HOST": "127.0.0.1",
        "OPS_HOST": "127.0.0.1",
        "ARGON_MEMORY_KB": "19456",
        "ARGON_ITERATIONS": "2",
        "HASH_ACQUIRE_TIMEOUT_MS": "30000",
        "IP_RL_PER_SECOND": NO_LIMIT,
        "IP_RL_BURST": NO_LIMIT,
        "LOGIN_PER_MIN_PER_EMAIL": NO_LIMIT,
        "REGISTER_PER_MIN_PER_EMAIL": NO_LIMIT,
        "REFRESH_PER_MIN_PER_TOKEN": NO_LIMIT,
        "JWT_PRIVATE_KEY_PEM": keys.signing_key().pem,
        "JWT_ISSUER": ISSUER,
        "JWT_AUDIENCE": AUDIENCE,
        "SERVICE_SECRET": secrets.token_hex(32),
    }
