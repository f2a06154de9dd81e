"""Energy by operations counted (Eq. 17)."""

from types import SimpleNamespace
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from catalogue import PARALLEL

from lnm_jax import neurons
from lnm_jax.analysis import energy, recording
from lnm_jax.analysis.recording import Layer, Received, Recording
from lnm_jax.errors import ConfigError
from lnm_jax.layers import Spiking, fold_time, unfold_time
from lnm_jax.models import Count

COUNTS = [
    Count("stem/conv", "convolution", (4, 4, 2), 18, 0, 288, 1),
    Count("spike", "spiking", (4, 4, 2), 0, 32, 0, 4),
    Count("classifier", "dense", (10,), 320, 0, 320, 4),
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
    inputs = {"stem/conv": Received(0.7, 0.6), "classifier": Received(0.25, 0.0)}
    return run, Recording({"spike": layer}, inputs, inputs, 1, 4)


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


class Small(nn.Module):
    """Layers that receive pixels, spikes, and averages of spikes."""

    neuron: Any

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(4, (1, 1), name="first")(x)
        x = Spiking(self.neuron, name="one")(jnp.broadcast_to(x, (3, *x.shape)))
        x = unfold_time(nn.Conv(3, (1, 1), name="of spikes")(fold_time(x)), 3)
        x = Spiking(self.neuron, name="two")(x).mean((2, 3))
        return nn.Dense(2, name="of averages")(x).mean(0)


KINDS = {kind: {"kind": kind} for kind in neurons.NEURONS if kind not in PARALLEL}
KINDS["ternary-amplitude"] = {"kind": "ternary", "learn_amplitude": True}
FEATURES = {"of spikes": 3, "of averages": 2}
UPDATES = 3 * (4 * 4 + 4 * 3)


def by_hand(x, features):
    """(MACs, accumulates) of all entries (T*B, ..., F) or (T, B, F) of the 2 real examples of 3."""
    macs = acs = 0
    for entry in x.reshape(3, 3, -1)[:, :2].ravel().tolist():
        for _ in range(features):
            if entry in (1, -1):
                acs += 1
            elif entry != 0:
                macs += 1
    return macs, acs


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_takes_the_operations_that_loops_over_the_entries_count(kind):
    neuron = neurons.build(**KINDS[kind], timesteps=3)
    model, images = Small(neuron), 3 * jax.random.normal(jax.random.key(1), (3, 2, 2, 1))
    received = {}

    def record(call, args, kwargs, context):
        received.setdefault(context.module.name, []).append(args[0])
        return call(*args, **kwargs)

    @jax.jit
    def seen(key):
        variables = jax.tree.map(lambda x: 1.2 * x + 0.03, model.init(key, images))
        received.clear()
        with nn.intercept_methods(record):
            found = recording.observe(model, variables, images, jnp.array([1.0, 1, 0]), 3)
        return found, {path: x for path, x in received.items() if path in FEATURES}

    (_, traces, *found), entries = jax.device_get(seen(jax.random.key(0)))
    inputs, of_ones = (
        {path: Received(*(total / 2 for total in totals)) for path, totals in each.items()}
        for each in found
    )
    layers = {path: SimpleNamespace(rate=0.0, at_zero=0.0) for path in traces}
    run = SimpleNamespace(
        experiment=SimpleNamespace(neuron=neuron, model=model, input_shape=(1, 2, 2, 1))
    )
    recorded = Recording(layers, inputs, of_ones, 2, 3)
    assert any(np.any(trace.spikes[:, :2]) for _, trace in traces.values())
    for lif, macs in ((False, neuron.facts.macs), (True, 1)):
        rows = {row.path: row for row in energy.rows(run, recorded, lif=lif)}
        assert sum(row.macs for row in rows.values() if row.kind == "spiking") == macs * UPDATES
        assert (rows["first"].macs, rows["first"].acs) == (3 * 4 * 4, 0)  # every pixel
        for path in FEATURES:
            counted = 2 * rows[path].macs, 2 * rows[path].acs
            wanted = by_hand(entries[path][lif], FEATURES[path])
            np.testing.assert_allclose(counted, wanted, rtol=1e-6, atol=1e-6)
            assert min(counted) >= 0
    assert bool(inputs["of spikes"].graded) == (kind in ("ts_lif", "ternary-amplitude"))
    assert of_ones["of spikes"] == (inputs["of spikes"].nonzero, 0)  # a LIF's are accumulated


class Attending(nn.Module):
    """A layer that does not run, attention, and a spiking layer with a learned start."""

    @nn.compact
    def __call__(self, x):
        if self.is_initializing():
            nn.Dense(3, name="side")(x)
        attention = nn.MultiHeadDotProductAttention(1, use_bias=False, name="attention")
        x = attention(x.reshape(1, 1, 4, 2))
        x = Spiking(neurons.lif(), start="learned", name="spike")(x)
        return nn.Dense(2, name="dense")(x).mean(0)


def test_weights_that_are_not_counted_are_named():
    model, shape = Attending(), (1, 2, 2, 2)
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros(shape))
    run = SimpleNamespace(
        experiment=SimpleNamespace(model=model, input_shape=shape),
        state=SimpleNamespace(variables=variables),
    )
    names = ("key", "out", "query", "value")
    assert energy.uncounted(run) == [f"attention/{name}/kernel" for name in names]


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
