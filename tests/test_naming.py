"""Names of learned dynamics: fits, the rule, and random neurons of every family with noise."""

import numpy as np
import pytest

from lnm_jax.analysis import naming

U = np.linspace(-1, 0.5, 151)
ONES = np.ones_like(U)


@pytest.mark.parametrize(
    ("family", "parameters", "f"),
    [
        ("LIF", {"k": 0.75}, -0.75 * U),
        ("QIF", {"a": 1.2, "b": -0.3}, 1.2 * U * (U - 0.25)),
        ("negative QIF", {"a": -1.2, "b": 0.3}, -1.2 * U * (U - 0.25)),
        ("EIF", {"k": 0.8, "c": 0.02, "D": 0.1}, -0.8 * U + 0.02 * np.expm1(U / 0.1)),
        ("negative EIF", {"k": 0.8, "c": 0.02, "D": 0.1}, 0.8 * U - 0.02 * np.expm1(U / 0.1)),
        ("cubic", {"a": -0.4, "b": 0.9, "c": 1.5}, -0.4 * U + 0.9 * U**2 + 1.5 * U**3),
        ("sinusoidal", {"a": 0.3, "w": 7.0}, 0.3 * np.sin(7 * U)),
        ("logarithmic", {"a": -0.2, "s": 1.1}, -0.2 * np.log1p(U / 1.1)),
    ],
)
def test_a_familys_own_f_gives_its_parameters_and_its_name(family, parameters, f):
    found = naming.nearest(U, f, ONES)
    assert found.name == family
    assert found.nearest.r2 == pytest.approx(1, abs=1e-6)
    assert found.nearest.parameters == pytest.approx(parameters, rel=1e-3)
    assert set(found.fits) == set(naming.FAMILIES)


def test_weights_decide_where_the_fit_must_be_good():
    f = np.where(U < 0, -0.5 * U, -3.0 * U)  # a kink at 0
    left = naming.fit("LIF", U, f, np.where(U < 0, 1.0, 1e-9))
    right = naming.fit("LIF", U, f, np.where(U > 0, 1.0, 1e-9))
    assert left.parameters["k"] == pytest.approx(0.5, rel=1e-3)
    assert right.parameters["k"] == pytest.approx(3.0, rel=1e-3)


def test_r2_is_one_less_the_weighted_share_left_unexplained():
    rng = np.random.default_rng(0)
    weights, f = rng.uniform(0.1, 1, len(U)), rng.normal(size=len(U))
    found = naming.fit("cubic", U, f, weights)
    mean = np.average(f, weights=weights)
    left = np.average((f - found.curve) ** 2, weights=weights)
    assert found.r2 == pytest.approx(1 - left / np.average((f - mean) ** 2, weights=weights))


def test_a_little_curvature_is_still_a_lif_and_more_is_not():
    assert naming.nearest(U, -0.7 * U + 0.02 * U**2, ONES).name == "LIF"
    assert naming.nearest(U, -0.7 * U + 0.5 * U**2, ONES).name == "QIF"


def test_an_expansive_line_is_no_lif():
    assert naming.nearest(U, 0.5 * U, ONES).name != "LIF"


def test_what_no_family_fits_has_no_name_and_a_reason():
    found = naming.nearest(U, np.sign(np.sin(20 * U)), ONES)
    assert found.name == naming.NONE
    assert found.nearest.r2 < naming.LEAST
    assert found.nearest.family in found.reason


@pytest.mark.parametrize(
    ("seen", "reason"),
    [(0, "no potential but 0 was visited"), (4, "only 4 potentials were visited, 6 are needed")],
)
def test_too_few_visits_are_said_in_one_line(seen, reason):
    found = naming.nearest(U, -U, np.arange(len(U)) < seen)
    assert (found.name, found.nearest, found.reason) == (naming.NONE, None, reason)


def drawn(family, rng):
    """f of a random neuron of the family at U, or of none of them."""
    draw, sign = rng.uniform, rng.choice([-1, 1])
    if family == "LIF":
        return -draw(0.1, 1.0) * U
    if "QIF" in family:
        f = draw(0.5, 1.5) * U * (U - draw(0.1, 0.6))
    elif "EIF" in family:
        delta, onset = draw(0.05, 0.15), draw(0.1, 0.3)
        f = draw(0.3, 1.0) * (delta * np.exp(-onset / delta) * np.expm1(U / delta) - U)
    elif family == "cubic":
        f = sign * draw(0.5, 2) * U * (U + draw(0.3, 0.9)) * (U - draw(0.1, 0.4))
    elif family == "sinusoidal":
        f = sign * draw(0.1, 0.5) * np.sin(draw(5, 9) * U)
    elif family == "logarithmic":
        pole = rng.choice([1 + draw(0.05, 0.2), -0.5 - draw(0.05, 0.2)])
        f = sign * draw(0.1, 0.4) * np.log1p(U / pole)
    else:  # several bumps of different heights
        waves = sum(rng.normal() * np.sin(k * 4.2 * U + draw(0, 6.3)) for k in (2, 3, 4, 5))
        f = 0.2 * (waves - np.interp(0, U, waves))
    return -f if "negative" in family else f


VISITS = np.exp(-(((U + 0.1) / 0.45) ** 2) / 2)


def named(f, noise, rng):
    """The name of f with noise of so many standard deviations."""
    deviation = np.sqrt(np.cov(f, aweights=VISITS))
    return naming.nearest(U, f + noise * deviation * rng.normal(size=len(U)), VISITS).name


def test_random_neurons_of_every_family_are_named_through_noise():
    rng = np.random.default_rng(0)
    families = 4 * [*naming.FAMILIES, naming.NONE]
    assert [named(drawn(family, rng), 0.05, rng) for family in families] == families


def test_noise_beyond_the_rules_limit_hides_the_name():
    # R2 of the truth is 1 / (1 + noise**2) at best: 0.86 here.
    rng = np.random.default_rng(0)
    assert named(drawn("LIF", rng), 0.4, rng) == naming.NONE


def test_on_a_narrow_range_every_smooth_f_is_a_line():
    u = 0.02 * U
    assert naming.nearest(u, u * (u - 0.3), ONES).name == "LIF"
