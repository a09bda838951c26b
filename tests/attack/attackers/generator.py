"""The benchmark's load generator: logins that cost next to nothing on this side, so that what is
measured is the service and not its client."""
from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from harness.client import Account
from harness.server import Server
from harness.settings import service_binary

WARM_UP_S = 2.0


@dataclass(frozen=True)
class Logins:
    """What became of them, a second."""

    accepted: float
    refused: float


def logins(server: Server, accounts: list[Account], folder: Path, *, seconds: float,
           connections: int, rate: float = 0) -> Logins:
    """As fast as they are answered, or `rate` a second whether answered or not."""
    program = service_binary().parent / "bench" / "bench_load"
    users = folder / "users"
    users.write_text("".join(f"{one.tenant} {one.email} {one.password}\n" for one in accounts))
    command = [program, "--port", str(server.port), "--seconds", str(seconds), "--warmup",
               str(WARM_UP_S), "--connections", str(connections), "--users-file", users]
    if rate:
        command += ["--rate", f"{rate:.3f}"]
    done = subprocess.run([*map(str, command), "login"], capture_output=True, text=True, check=True)
    result = json.loads(done.stdout)
    assert set(result["status"]) <= {"200", "503"} and not result["bad_answers"], result
    assert result["unsent"] == 0 or not rate, result
    return Logins(*(result["status"].get(status, 0) / seconds for status in ("200", "503")))
