"""Child processes that do not outlive a killed test run."""
from __future__ import annotations

import ctypes
import signal
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1
_prctl = ctypes.CDLL(None, use_errno=True).prctl


def dies_with_us(by: signal.Signals) -> Callable[[], None]:
    """A preexec_fn: the child gets this signal when the thread that started it is gone."""
    number = int(by)

    def arm() -> None:
        _prctl(_PR_SET_PDEATHSIG, number)

    return arm
