"""The processes of a running service, and what is in their memory."""
from __future__ import annotations

import os
import pwd
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from .server import Server


def status(pid: int) -> dict[str, str]:
    """The lines of /proc/PID/status."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def children(pid: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.append(int(entry.name))
    return found


def keeper_of(server: Server) -> int:
    """The one child of the process that faces the network."""
    [pid] = children(server.process.pid)
    assert status(pid)["Name"] == "ww-keeper"
    return pid


def signers_of(server: Server) -> list[int]:
    return children(keeper_of(server))


def signer_of(server: Server) -> int:
    """The keeper's child; where the keys have just changed, there may be two for a moment."""
    [pid] = signers_of(server)
    assert status(pid)["Name"] == "ww-signer"
    return pid


def descriptors(pid: int) -> list[str]:
    """Where each open descriptor leads; what is closed meanwhile is left out."""
    found = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found.append(os.readlink(link))
    return found


def memory(pid: int) -> bytes:
    """All that a process has mapped and may read; needs root, as the process is not dumpable."""
    parts = []
    with open(f"/proc/{pid}/mem", "rb", 0) as mem:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            span = re.match(r"([0-9a-f]+)-([0-9a-f]+) r\S+ \S+ \S+ \S+\s*(.*)", line)
            if span is None or span[3] in ("[vvar]", "[vsyscall]", "[vvar_vclock]"):
                continue
            start, end = int(span[1], 16), int(span[2], 16)
            try:
                mem.seek(start)
                parts.append(mem.read(end - start))
            except OSError:
                continue
    return b"\0".join(parts)


def is_root() -> bool:
    return os.geteuid() == 0


def as_user(name: str) -> dict[str, Any]:
    """Popen's options for a process of this user; only root can choose, others stay who they are."""
    if not is_root():
        return {}
    user = pwd.getpwnam(name)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
