"""Means over seeds, and whether a difference is larger than chance, paired by seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Difference(NamedTuple):
    """Of two methods under the same seeds.

    Attributes:
      mean: of the differences.
      error: its standard error, NaN for one seed.
      p: two-sided, of a paired t test; NaN for one seed or equal differences.
    """

    mean: float
    error: float
    p: float

    def __str__(self) -> str:
        if np.isnan(self.error):
            return f"{self.mean:+.2f}"
        sign = "larger than" if abs(self.mean) > self.error else "within"
        p = "" if np.isnan(self.p) else f", p {self.p:.2g}"
        return f"{self.mean:+.2f} ± {self.error:.2f}{p} ({sign} its error)"


def paired(values: Sequence[float], others: Sequence[float]) -> Difference:
    """Difference of two methods whose values come from the same seeds, in the same order.

    Raises: ValueError for different numbers of seeds, or none.
    """
    if len(values) != len(others) or not len(values):
        raise ValueError(f"{len(values)} and {len(others)} seeds cannot be paired")
    differences = np.subtract(values, others)
    mean, deviation = mean_std(differences)
    error = deviation / np.sqrt(len(differences))
    if not error > 0:  # one seed, or equal differences
        return Difference(mean, error, float("nan"))
    from scipy import stats

    return Difference(mean, error, float(stats.ttest_1samp(differences, 0).pvalue))


def mean_std(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation, which is NaN for one value."""
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")
    return float(np.mean(values)), deviation


def as_text(values: Sequence[float], mean: str = ".2f", std: str = ".2f") -> str:
    """`mean_std` in these formats; one value has no deviation."""
    found, deviation = mean_std(values)
    return f"{found:{mean}}" if np.isnan(deviation) else f"{found:{mean}} ± {deviation:{std}}"
