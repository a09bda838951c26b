"""The fixtures of tests/api, for the attacks."""
from __future__ import annotations

import sys
from pathlib import Path

import pytest

_HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(_HERE.parent / "api"), str(_HERE)]

for _module in ("harness.checks", "harness.client", "harness.raw", "test_races", "test_refresh",
                "attackers"):
    pytest.register_assert_rewrite(_module)

from harness.fixtures import *  # noqa: E402,F401,F403
