"""The fixtures of tests/api, for the failure tests."""
from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "api"))

for _module in ("checks", "client", "raw"):
    pytest.register_assert_rewrite(f"harness.{_module}")

from harness.fixtures import *  # noqa: E402,F401,F403
