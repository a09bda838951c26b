"""Free TCP ports below the ephemeral range, so that no outgoing connection takes one."""
from __future__ import annotations

import os
import random
import socket

_FIRST, _LAST = 10000, 32000
_state = random.Random(f"{os.getpid()}-{os.urandom(8).hex()}")
_given: set[int] = set()


def free_port() -> int:
    """A port nobody listens on now; never the same one twice in this process."""
    while True:
        port = _state.randrange(_FIRST, _LAST)
        if port in _given:
            continue
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given.add(port)
        return port
