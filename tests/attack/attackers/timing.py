"""The judge of a timing comparison: Welch's t on raw and cropped samples, medians, and the area
under the curve of a classifier that has nothing but a threshold.
"""
from __future__ import annotations

import math
import statistics
from dataclasses import dataclass

CROPS = (0.10, 0.25, 0.50, 0.75, 0.90)
T_LIMIT = 5.0
AUC_LIMIT = 0.55
MEDIAN_FLOOR_US = 50.0
MEDIAN_SHARE = 0.002


def welch_t(one: list[float], two: list[float]) -> float:
    if len(one) < 2 or len(two) < 2:
        return 0.0
    spread = statistics.variance(one) / len(one) + statistics.variance(two) / len(two)
    gap = statistics.fmean(one) - statistics.fmean(two)
    return gap / math.sqrt(spread) if spread > 0 else 0.0


def auc(one: list[float], two: list[float]) -> float:
    """How often a sample of the one is below a sample of the other, whichever way is better."""
    merged = sorted([(value, 0) for value in one] + [(value, 1) for value in two])
    ranks, place = 0.0, 0
    while place < len(merged):
        end = place
        while end < len(merged) and merged[end][0] == merged[place][0]:
            end += 1
        ranks += sum(label == 0 for _, label in merged[place:end]) * (place + 1 + end) / 2
        place = end
    share = (ranks - len(one) * (len(one) + 1) / 2) / (len(one) * len(two))
    return max(share, 1 - share)


def auc_limit(pairs: int) -> float:
    """0.55, or what 4.5 standard errors of equal samples allow: that is more below 1,350 pairs."""
    return 0.5 + max(AUC_LIMIT - 0.5, 4.5 * math.sqrt((2 * pairs + 1) / (12 * pairs * pairs)))


@dataclass(frozen=True)
class Verdict:
    """The figures of one comparison, in microseconds, and whether they give anything away."""

    pairs: int
    medians: tuple[float, float]
    t_raw: float
    t_worst: float
    auc: float
    hash_us: float

    @property
    def gap(self) -> float:
        return abs(self.medians[0] - self.medians[1])

    @property
    def leaks(self) -> bool:
        allowed = max(MEDIAN_FLOOR_US, MEDIAN_SHARE * self.hash_us)
        moved = self.t_worst > T_LIMIT and self.gap > allowed
        return moved or self.auc > auc_limit(self.pairs)

    def __str__(self) -> str:
        return (f"{self.pairs} pairs, medians {self.medians[0]:.0f} and {self.medians[1]:.0f} us "
                f"(gap {self.gap:.1f}), t {self.t_raw:+.2f} raw, {self.t_worst:.2f} at most, "
                f"AUC {self.auc:.4f}, a hash {self.hash_us:.0f} us")


def judge(one: list[float], two: list[float], hash_us: float) -> Verdict:
    """Compare two equally long lists of microseconds."""
    together = sorted(one + two)
    raw = welch_t(one, two)
    worst = abs(raw)
    for crop in CROPS:
        limit = together[int(crop * (len(together) - 1))]
        kept = [[value for value in side if value <= limit] for side in (one, two)]
        worst = max(worst, abs(welch_t(*kept)))
    medians = statistics.median(one), statistics.median(two)
    return Verdict(len(one), medians, raw, worst, auc(one, two), hash_us)
