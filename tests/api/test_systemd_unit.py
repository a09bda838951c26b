"""deploy/systemd/watchword.service: confined as far as it goes, and it names settings that exist."""
from __future__ import annotations

import re
import subprocess
from pathlib import Path

from harness.server import run_command
from harness.settings import REPO

UNIT = REPO / "deploy" / "systemd" / "watchword.service"
LIMIT = 1.5


def exposure(unit: Path) -> float:
    """The overall exposure level that systemd-analyze gives the unit, 0 (none) to 10."""
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)],
        capture_output=True, text=True, timeout=60,
    )
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert found, done.stdout + done.stderr
    return float(found[1])


def test_exposure_is_low(tmp_path: Path) -> None:
    """At most 1.5; the control without the system call filter and the address lists is worse."""
    assert exposure(UNIT) <= LIMIT
    weaker = tmp_path / "weaker.service"
    weaker.write_text("".join(
        line for line in UNIT.read_text().splitlines(keepends=True)
        if not line.startswith(("SystemCallFilter", "IPAddress", "CapabilityBoundingSet"))
    ))
    assert exposure(weaker) > LIMIT


def test_secrets_come_as_credentials() -> None:
    """Each secret is a file in the credentials directory; none stands in the unit."""
    text = UNIT.read_text()
    loaded = set(re.findall(r"^LoadCredential=([\w-]+):", text, re.M))
    used = dict(re.findall(r"^Environment=(\w+)_FILE=%d/([\w-]+)$", text, re.M))
    assert loaded == set(used.values())
    assert {"SERVICE_SECRET", "JWT_PRIVATE_KEY_PEM", "DATABASE_URL"} <= set(used)
    assert not re.search(r"^SetCredential", text, re.M)


def test_settings_of_the_unit_are_settings(tmp_path: Path) -> None:
    """`check` with what the unit sets finds only what the operator still has to say."""
    settings: dict[str, str | None] = {}
    contents = {"service-secret": "s" * 48, "database-url": "sqlite:/nowhere/w.db",
                "register-token": "r" * 32}
    for name, value in re.findall(r"^Environment=(\w+)=(\S+)$", UNIT.read_text(), re.M):
        if value.startswith("%d/"):
            file = tmp_path / value[3:]
            file.write_text(contents.get(value[3:], "no key"))
            value = str(file)
        settings[name] = value
    done = run_command(["check"], settings)
    problems = {line.split()[1] for line in done.err.splitlines()}
    assert problems == {"JWT_ISSUER", "JWT_AUDIENCE", "JWT_PRIVATE_KEY_PEM_FILE"}, done.err
