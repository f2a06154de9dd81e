"""Energy by operations counted (Eq. 17)."""

from types import SimpleNamespace

import numpy as np
import pytest
from catalogue import PARALLEL

from lnm_jax import neurons
from lnm_jax.analysis import energy
from lnm_jax.analysis.recording import Layer, Recording
from lnm_jax.errors import ConfigError
from lnm_jax.models import Count

COUNTS = [
    Count("stem/conv", "convolution", (4, 4, 2), 18, 0, 288),
    Count("spike", "spiking", (4, 4, 2), 0, 32, 0),
    Count("classifier", "dense", (10,), 320, 0, 320),
]


def experiment_of(kind="lnm"):
    config = SimpleNamespace(neuron=SimpleNamespace(kind=kind))
    return SimpleNamespace(config=config, neuron=neurons.build(kind), model=None, input_shape=None)


def made(monkeypatch, **neuron):
    """A run and a recording of T = 4 whose layer spikes at 0.25 and is at 0 in half its updates."""
    monkeypatch.setattr(energy.models, "counts", lambda model, shape: COUNTS)
    run = SimpleNamespace(experiment=experiment_of(**neuron))
    layer = Layer(
        "spike", {}, np.linspace(-4, 4, 5), np.array([0, 32, 32, 0]), 64, -1.0, 0.4,
        np.ones((4, 4, 2)), 4, None,
    )  # fmt: skip
    inputs = {"stem/conv": 0.7, "classifier": 0.25}
    return run, Recording({"spike": layer}, inputs, 1, 4)


def test_operations_are_those_of_equation_17(monkeypatch):
    first, spiking, classifier = energy.rows(*made(monkeypatch))
    assert (first.macs, first.acs) == (4 * 288, 0)  # pixels: multiplied, not gated by spikes
    assert (spiking.macs, spiking.acs) == (4 * 32 * 3, 0)  # N for degree N
    assert (classifier.macs, classifier.acs) == (0, 4 * 320 * 0.25)


def test_energy_of_a_known_network_is_the_sum_by_hand(monkeypatch):
    found = energy.total(energy.rows(*made(monkeypatch)))
    operations = 4.6 * (4 * 288 + 4 * 32 * 3) + 0.9 * 320
    assert found.operations == pytest.approx(1e-9 * operations)
    # Half of the updates are at u = 0: their three MACs are not needed.
    assert found.skipping_zeros == pytest.approx(1e-9 * (operations - 4.6 * 4 * 32 * 3 / 2))
    words = 2 * 4 * 288 + 3 * 320 + 3 * 4 * 32
    assert found.with_memory == pytest.approx(1e-9 * (operations + 5.0 * words))


def test_costs_are_fields(monkeypatch):
    counted = energy.rows(*made(monkeypatch))
    free = energy.Costs(mac=0.0, ac=1.0, word=0.0)
    assert energy.total(counted, free).with_memory == pytest.approx(1e-9 * 320)


def test_lif_is_compared_at_equal_rates_and_differs_in_the_neurons_macs_alone(monkeypatch):
    run, recording = made(monkeypatch)
    found = energy.compare(run, recording)
    assert found.macs == 3
    extra = 1e-9 * 4.6 * 2 * 4 * 32
    assert found.own.operations - found.lif.operations == pytest.approx(extra)
    assert found.own.with_memory - found.lif.with_memory == pytest.approx(extra)
    assert found.overhead.operations == pytest.approx(100 * extra / found.lif.operations)
    own = energy.compare(*made(monkeypatch, kind="lif"))
    assert own.overhead == energy.Energy(0, 0, 0)


@pytest.mark.parametrize(
    ("fields", "macs"),
    [
        ({"kind": "if"}, 0),
        ({"kind": "lif"}, 1),
        ({"kind": "plif"}, 1),
        ({"kind": "lnm", "degree": 5}, 5),
        ({"kind": "lnm", "family": "chebyshev"}, 3),
        ({"kind": "lnm", "family": "spline"}, 3),
        ({"kind": "lnm", "family": "mlp", "hidden": 4}, 13),
        ({"kind": "lnm_two_variable", "degree": 2}, 5 + 2),  # u, u2, w, uw, w2; and w's own two
        ({"kind": "qif"}, 2),
        ({"kind": "clif"}, 3 + 6 + 6),  # leak, scale and gate of m; two logistic functions
        ({"kind": "ts_lif"}, 6),
    ],
)
def test_macs_of_an_update(fields, macs):
    assert neurons.build(**fields).facts.macs == macs


def test_every_neuron_with_a_step_has_its_count():
    counted = {kind for kind in neurons.NEURONS if neurons.build(kind).facts.macs is not None}
    assert counted == set(neurons.NEURONS) - set(PARALLEL)
    with pytest.raises(ConfigError, match=r"neuron\.kind psn has no count"):
        energy.macs_per_update(experiment_of(kind="psn"))
