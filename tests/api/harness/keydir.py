"""A KEYS_DIR: its files, its keyring.json, and the commands that change it.

Tests move time by shifting the times in keyring.json, not by sleeping.
"""
from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .server import Finished, Settings, run_command
from .settings import AUDIENCE, ISSUER

PUBLISH_WAIT = 930
RETIRE_WAIT = 4560
TIMES = ("created_at", "published_at", "activated_at", "retired_at", "revoked_at")


@dataclass
class KeyDir:
    """The directory, and the settings that commands on it run with."""

    path: Path
    settings: Settings = field(default_factory=dict)
    binary: Path | None = None

    def __post_init__(self) -> None:
        self.settings = {
            "ENV": "development", "KEYS_DIR": str(self.path), "JWT_PRIVATE_KEY_PEM": None,
            "DATA_DIR": str(self.path.parent / "data"), "JWT_ISSUER": ISSUER,
            "JWT_AUDIENCE": AUDIENCE, **self.settings,
        }

    # Files

    def write(self, pem: str, name: str = "a.pem", mode: int = 0o600) -> Path:
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = self.path / name
        file.write_text(pem)
        file.chmod(mode)
        return file

    def names(self, suffix: str = "") -> list[str]:
        return sorted(name for name in os.listdir(self.path) if name.endswith(suffix))

    def bytes(self) -> bytes:
        """Everything in it."""
        return b"".join(file.read_bytes() for file in sorted(self.path.iterdir()))

    @property
    def index(self) -> Path:
        return self.path / "keyring.json"

    def read_index(self) -> dict[str, Any]:
        return json.loads(self.index.read_text())

    def write_index(self, index: Any) -> None:
        """In one step, as the program does it."""
        part = self.path / "keyring.json.test"
        part.write_text(index if isinstance(index, str) else json.dumps(index))
        part.chmod(0o600)
        os.replace(part, self.index)

    def shift(self, seconds: int) -> None:
        """So much time has passed."""
        index = self.read_index()
        for key in index["keys"]:
            key.update({name: key[name] - seconds for name in TIMES if name in key})
        self.write_index(index)

    # Commands

    def run(self, line: str, *arguments: str, **changes: str | None) -> Finished:
        return run_command(["keys", *line.split(), *arguments], {**self.settings, **changes},
                           timeout=30, binary=self.binary)

    def do(self, line: str, *arguments: str, **changes: str | None) -> dict[str, Any]:
        """It must succeed; its answer."""
        done = self.run(line, *arguments, "--json", **changes)
        assert done.code == 0, done.text
        answer = json.loads(done.out)
        assert isinstance(answer, dict)
        return answer

    def keys(self) -> list[dict[str, Any]]:
        return self.do("list")["keys"]

    def states(self) -> dict[str, str]:
        return {key["kid"]: key["state"] for key in self.keys()}

    def kids(self, state: str) -> list[str]:
        return [kid for kid, it_is in self.states().items() if it_is == state]

    def active(self) -> str:
        [kid] = self.kids("active")
        return kid

    def publish_new(self) -> str:
        """A key that is next."""
        kid = self.do("generate")["kid"]
        assert self.do("publish", kid) == {"kid": kid, "state": "next", "changed": True}
        return kid

    def rotate(self) -> tuple[str, str]:
        """One whole rotation up to the activation: the kids before and after."""
        before, after = self.active(), self.publish_new()
        self.shift(PUBLISH_WAIT)
        self.do("activate", after)
        return before, after
