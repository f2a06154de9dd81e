"""Names of learned dynamics: fits, the rule, and synthetic neurons with noise."""

import numpy as np
import pytest

from lnm_jax.analysis import names, synthetic

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
    found = names.nearest(U, f, ONES)
    assert found.name == family
    assert found.nearest.r2 == pytest.approx(1, abs=1e-6)
    assert found.nearest.parameters == pytest.approx(parameters, rel=1e-3)
    assert set(found.fits) == set(names.FAMILIES)


def test_weights_decide_where_the_fit_must_be_good():
    f = np.where(U < 0, -0.5 * U, -3.0 * U)  # a kink at 0
    left = names.fit("LIF", U, f, np.where(U < 0, 1.0, 1e-9))
    right = names.fit("LIF", U, f, np.where(U > 0, 1.0, 1e-9))
    assert left.parameters["k"] == pytest.approx(0.5, rel=1e-3)
    assert right.parameters["k"] == pytest.approx(3.0, rel=1e-3)


def test_r2_is_one_less_the_weighted_share_left_unexplained():
    rng = np.random.default_rng(0)
    weights, f = rng.uniform(0.1, 1, len(U)), rng.normal(size=len(U))
    found = names.fit("cubic", U, f, weights)
    mean = np.average(f, weights=weights)
    left = np.average((f - found.curve) ** 2, weights=weights)
    assert found.r2 == pytest.approx(1 - left / np.average((f - mean) ** 2, weights=weights))


def test_a_little_curvature_is_still_a_lif_and_more_is_not():
    assert names.nearest(U, -0.7 * U + 0.02 * U**2, ONES).name == "LIF"
    assert names.nearest(U, -0.7 * U + 0.5 * U**2, ONES).name == "QIF"


def test_an_expansive_line_is_no_lif():
    assert names.nearest(U, 0.5 * U, ONES).name != "LIF"


def test_what_no_family_fits_has_no_name_and_a_reason():
    found = names.nearest(U, np.sign(np.sin(20 * U)), ONES)
    assert found.name == names.NONE
    assert found.nearest.r2 < names.LEAST
    assert found.nearest.family in found.reason


@pytest.mark.parametrize(
    ("seen", "reason"),
    [(0, "no potential but 0 was visited"), (4, "only 4 potentials were visited, 6 are needed")],
)
def test_too_few_visits_are_said_in_one_line(seen, reason):
    found = names.nearest(U, -U, np.arange(len(U)) < seen)
    assert (found.name, found.nearest, found.reason) == (names.NONE, None, reason)


def test_synthetic_neurons_of_every_family_are_named_through_noise():
    found = synthetic.confusion(noise=0.05, count=4)
    assert found.true == found.given == [*names.FAMILIES, names.NONE]
    assert (found.counts.sum(1) == 4).all()
    right = np.diag(found.counts).sum() / found.counts.sum()
    assert right >= 0.9  # docs/analysis.md has the whole table; chance is 0.11
    assert "| LIF | 100 |" in synthetic.markdown(found)


def test_noise_beyond_the_rules_limit_hides_the_name():
    # R2 of the truth is 1 / (1 + noise**2) at best: 0.86 here.
    f = synthetic.neuron("LIF", np.random.default_rng(0), noise=0.4)
    assert names.nearest(*f).name == names.NONE


def test_on_a_narrow_range_every_smooth_f_is_a_line():
    u, f, weights = synthetic.neuron("QIF", np.random.default_rng(1), seen=0.02)
    assert np.abs(u).max() == pytest.approx(0.02)
    assert names.nearest(u, f, weights).name == "LIF"
