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

    @property
    def clear(self) -> bool:
        """Whether the difference is larger than its standard error."""
        return abs(self.mean) > self.error

    def __str__(self) -> str:
        if np.isnan(self.error):
            return f"{self.mean:+.2f}"
        sign = "larger than" if self.clear else "within"
        p = "" if np.isnan(self.p) else f", p {self.p:.2g}"
        return f"{self.mean:+.2f} ± {self.error:.2f}{p} ({sign} its error)"


def paired(values: Sequence[float], others: Sequence[float]) -> Difference:
    """Difference of two methods whose values come from the same seeds, in the same order.

    Raises: ValueError for different numbers of seeds, or none.
    """
    if len(values) != len(others) or not len(values):
        raise ValueError(f"{len(values)} and {len(others)} seeds cannot be paired")
    differences = np.asarray(values, float) - np.asarray(others, float)
    mean, count = float(differences.mean()), len(differences)
    if count < 2:
        return Difference(mean, float("nan"), float("nan"))
    error = float(differences.std(ddof=1) / np.sqrt(count))
    if error == 0:
        return Difference(mean, error, float("nan"))
    from scipy import stats

    return Difference(mean, error, float(stats.ttest_1samp(differences, 0).pvalue))


def moments(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation, which is NaN for one value."""
    values = np.asarray(values, float)
    deviation = float(values.std(ddof=1)) if len(values) > 1 else float("nan")
    return float(values.mean()), deviation


def spread(values: Sequence[float]) -> str:
    """Mean and sample standard deviation as text; one value has none."""
    mean, deviation = moments(values)
    return f"{mean:.2f}" if np.isnan(deviation) else f"{mean:.2f} ± {deviation:.2f}"
