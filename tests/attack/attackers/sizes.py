"""How large a proof is: everyday sizes, and the big ones by environment variable."""
from __future__ import annotations

import os


def timing_pairs() -> int:
    """Pairs of each timing comparison; 5,000 for the big proof."""
    return int(os.environ.get("WATCHWORD_TIMING_PAIRS", "300"))


def timing_is_at_defaults() -> bool:
    """Hash as a service does that was never tuned, instead of with the cheapest parameters."""
    return os.environ.get("WATCHWORD_TIMING_DEFAULTS", "") == "1"


def guess_rounds() -> int:
    """Rounds of 200 simultaneous guesses; 100 for the big proof."""
    return int(os.environ.get("WATCHWORD_GUESS_ROUNDS", "3"))


def overload_seconds() -> float:
    """Length of each overload; 30 for the big proof."""
    return float(os.environ.get("WATCHWORD_OVERLOAD_SECONDS", "4"))


def overload_is_exact() -> bool:
    """The big proof has no tolerance for a busy machine."""
    return "WATCHWORD_OVERLOAD_SECONDS" in os.environ


def distinct_logins() -> int:
    """Logins of addresses and accounts that are all different; 1,000,000 for the big proof."""
    return int(os.environ.get("WATCHWORD_DISTINCT", "20000"))


def slow_is_wanted() -> bool:
    """Also wait for what takes a minute."""
    return os.environ.get("WATCHWORD_SLOW", "") == "1"
