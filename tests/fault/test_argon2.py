"""The program does not start with an Argon2id that computes something else.

The build with failure points can be told to spoil one bit in the last block of a hash, alone or in
the second hash of a pair: what a miscompiled kernel or a faulty processor might do.
"""
from __future__ import annotations

import pytest

from harness.fixtures import ServerFactory
from harness.server import Server, StartFailed
from harness.settings import fault_binary

BACKENDS = ("portable", "avx2", "avx512")


def _start(make: ServerFactory, backend: str, defect: str | None = None) -> Server:
    return make(binary=fault_binary(), ARGON2_BACKEND=backend, WATCHWORD_WITHOUT=defect)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("defect", ["right single hash", "right paired hash"])
def test_wrong_back_end_does_not_start(
    make_sqlite_server: ServerFactory, backend: str, defect: str
) -> None:
    """Sound, it starts; with the defect, the line names the setting, and nothing listens."""
    try:
        _start(make_sqlite_server, backend).stop()
    except StartFailed as unable:
        assert "cannot run on this processor" in unable.stderr
        pytest.skip(f"no {backend} here")
    with pytest.raises(StartFailed) as refused:
        _start(make_sqlite_server, backend, defect)
    assert refused.value.returncode == 1
    assert "ARGON2_BACKEND failed its self-test" in refused.value.stderr
    assert "service.started" not in refused.value.stderr
