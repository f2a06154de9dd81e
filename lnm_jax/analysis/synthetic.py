"""Synthetic neurons of every family of `names`, and how well noise lets them be told apart."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lnm_jax.analysis import names

LOW, HIGH = -1.0, 0.5  # visited: from the clip of the argument to the threshold
POTENTIALS = 151


class Confusion(NamedTuple):
    """Names given to synthetic neurons.

    Attributes:
      true: names of the rows, the families and "none".
      given: names of the columns.
      counts: (rows, columns) neurons.
      noise: standard deviation of the noise, in standard deviations of f.
      seen: share of the interval that was visited.
    """

    true: list[str]
    given: list[str]
    counts: np.ndarray
    noise: float
    seen: float


def _draw(family: str, u: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """f of one neuron of the family with random parameters, per timestep."""
    draw = rng.uniform
    if family == "LIF":
        return -draw(0.1, 1.0) * u
    if family in ("QIF", "negative QIF"):
        f = draw(0.5, 1.5) * u * (u - draw(0.1, 0.6))
    elif family in ("EIF", "negative EIF"):
        delta, onset = draw(0.05, 0.15), draw(0.1, 0.3)
        f = draw(0.3, 1.0) * (delta * np.exp(-onset / delta) * np.expm1(u / delta) - u)
    elif family == "cubic":
        f = rng.choice([-1, 1]) * draw(0.5, 2) * u * (u + draw(0.3, 0.9)) * (u - draw(0.1, 0.4))
    elif family == "sinusoidal":
        f = rng.choice([-1, 1]) * draw(0.1, 0.5) * np.sin(draw(5, 9) * u)
    elif family == "logarithmic":
        pole = rng.choice([1 + draw(0.05, 0.2), -0.5 - draw(0.05, 0.2)])
        f = rng.choice([-1, 1]) * draw(0.1, 0.4) * np.log1p(u / pole)
    else:  # what none of them is: several bumps of different heights
        waves = [rng.normal() * np.sin(k * 4.2 * u + draw(0, 6.3)) for k in (2, 3, 4, 5)]
        f = 0.2 * (sum(waves) - np.interp(0, u, sum(waves)))
    return -f if family.startswith("negative") else f


def neuron(
    family: str, rng: np.random.Generator, *, noise: float = 0.0, seen: float = 1.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(u, f, weights) of a neuron of a family, or of "none", with visits spread like a normal.

    Args:
      family: in `names.FAMILIES`, or "none".
      rng: its draws.
      noise: of every f(u), in weighted standard deviations of f.
      seen: share of the interval [-1, 0.5] that is visited, around 0.
    """
    u = np.linspace(LOW, HIGH, POTENTIALS) * seen
    centre, width = rng.uniform(-0.3, 0.1), rng.uniform(0.3, 0.6)
    weights = np.exp(-(((u / seen - centre) / width) ** 2) / 2)
    f = _draw(family, u, rng)
    mean = np.average(f, weights=weights)
    deviation = np.sqrt(np.average((f - mean) ** 2, weights=weights))
    return u, f + noise * deviation * rng.normal(size=len(u)), weights


def confusion(
    *, noise: float = 0.0, seen: float = 1.0, count: int = 50, seed: int = 0
) -> Confusion:
    """Names that the rule gives to `count` synthetic neurons of every family and of none.

    Args:
      noise, seen: see `neuron`.
      count: neurons a family.
      seed: of everything drawn.
    """
    rng = np.random.default_rng(seed)
    true = given = [*names.FAMILIES, names.NONE]
    counts = np.zeros((len(true), len(given)), int)
    for row, family in enumerate(true):
        for _ in range(count):
            found = names.nearest(*neuron(family, rng, noise=noise, seen=seen)).name
            counts[row, given.index(found)] += 1
    return Confusion(true, given, counts, noise, seen)


def markdown(found: Confusion) -> str:
    """The table as Markdown, rows in percent."""
    shares = 100 * found.counts / found.counts.sum(1, keepdims=True)
    lines = [
        f"| noise {found.noise:g}, seen {found.seen:g} | {' | '.join(found.given)} |",
        "|---" * (len(found.given) + 1) + "|",
    ]
    for name, row in zip(found.true, shares, strict=True):
        lines.append(f"| {name} | {' | '.join(f'{x:.0f}' if x else '' for x in row)} |")
    return "\n".join(lines)
