"""Fixtures of the black-box suite; they live in harness/fixtures.py."""
from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

for _module in ("checks", "client", "events", "races", "raw", "reconcile"):
    pytest.register_assert_rewrite(f"harness.{_module}")

from harness.fixtures import *  # noqa: E402,F401,F403
