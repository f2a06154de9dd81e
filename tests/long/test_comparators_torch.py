"""The compared methods equal SpikingJelly's: every spike, and every gradient; norms too.

Not a requirement: where PyTorch or SpikingJelly 2 is missing, these tests are skipped.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from catalogue import trained

from lnm_jax import layers, neurons

torch = pytest.importorskip("torch")
theirs = pytest.importorskip("spikingjelly.activation_based.neuron")
if not hasattr(theirs, "TernaryLIFNode"):  # it has no __version__
    pytest.skip("needs SpikingJelly 2", allow_module_level=True)

from spikingjelly.activation_based import layer, surrogate

torch.set_num_threads(1)

T, SHAPE = 6, (3, 4, 5, 2)  # currents (T, batch, height, width, channels)
ATAN = {"surrogate": "arctan", "width": 0.5}
GLIF = {
    "gate_leak": "alpha",
    "gate_input": "beta",
    "gate_reset": "gamma",
    "tau": "tau",
    "linear": "linear_decay",
    "subtracted": "v_subreset",
    "theta": "v_threshold",
    "conductance": "conduct",
}
PSN = {"weights": "weight", "c": "bias"}


def atan():
    return surrogate.ATan(alpha=2.0)


def case(ours, module, names=(), channels=False):
    """Our neuron, theirs, and their names of our parameters."""
    return ours, module, dict(names), channels


def plif(**fields):
    gate, scaled = fields.pop("gate_gradient"), fields.pop("decay_input")
    return case(
        neurons.plif(decay=0.5, threshold=1.0, gate_gradient=gate, decay_input=scaled, **ATAN),
        theirs.ParametricLIFNode(
            2.0, scaled, surrogate_function=atan(), detach_reset=not gate, step_mode="m"
        ),
        {"w": "w"},
    )


def ternary(**fields):
    return theirs.TernaryLIFNode(
        4 / 3,
        decay_input=False,
        v_threshold=0.5,
        surrogate_function=atan(),
        step_mode="m",
        **fields,
    )


CASES = {
    "plif": lambda: plif(gate_gradient=False, decay_input=True),
    "plif-full-gradient": lambda: plif(gate_gradient=True, decay_input=True),
    "plif-current-unscaled": lambda: plif(gate_gradient=False, decay_input=False),
    "glif": lambda: case(
        neurons.glif(timesteps=T, **ATAN),
        theirs.GatedLIFNode(T, inplane=SHAPE[-1], surrogate_function=atan()),
        GLIF,
        channels=True,
    ),
    "clif": lambda: case(
        neurons.clif(**ATAN),
        theirs.ComplementaryLIFNode(2.0, 1.0, surrogate_function=atan(), step_mode="m"),
    ),
    "ternary": lambda: case(
        neurons.ternary(gate_gradient=False, **ATAN), ternary(detach_reset=True)
    ),
    "psn": lambda: case(neurons.psn(timesteps=T), theirs.PSN(T, atan()), PSN),
    "masked_psn": lambda: case(
        neurons.masked_psn(timesteps=T, order=3, masking=0.25),
        theirs.MaskedPSN(3, T, 0.25, atan(), step_mode="m"),
        PSN,
    ),
    "sliding_psn": lambda: case(
        neurons.sliding_psn(order=3), theirs.SlidingPSN(3, True, atan(), step_mode="m"), PSN
    ),
}


def data():
    rng = np.random.default_rng(3)
    return rng.normal(0.6, 1.0, (T, *SHAPE)), rng.normal(size=(T, *SHAPE))


def ours_of(neuron, params, currents, cotangent):
    """(spikes, gradient of the parameters, of the currents) in float64."""
    apply = functools.partial(neurons.run, neuron, backend="scan")
    with jax.enable_x64(True):
        params = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), params)

        @jax.jit
        def both(params, currents, cotangent):
            spikes, pullback = jax.vjp(apply, params, currents)
            return spikes, *pullback(cotangent)

        return jax.device_get(both(params, currents, cotangent))


def theirs_of(module, currents, cotangent):
    """(spikes, gradients by name, gradient of the currents); their channels are third."""
    x = torch.tensor(np.moveaxis(currents, -1, 2), requires_grad=True)
    spikes = module(x)
    spikes.backward(torch.tensor(np.moveaxis(cotangent, -1, 2)))
    back = lambda leaf: np.moveaxis(leaf.detach().numpy(), 2, -1)
    gradients = {name: leaf.grad.numpy() for name, leaf in module.named_parameters()}
    return back(spikes), gradients, back(x.grad)


@pytest.mark.parametrize("name", CASES)
def test_every_spike_and_gradient_is_equal(name):
    neuron, module, names, channels = CASES[name]()
    if channels:
        neuron = neurons.per_channel(neuron, SHAPE[-1])
    params = trained(neuron)
    module = module.double()
    assert set(names.values()) == {name for name, _ in module.named_parameters()}
    for own, other in names.items():
        leaf = getattr(module, other)
        leaf.data = torch.tensor(np.asarray(params[own], np.float64).reshape(leaf.shape))
    currents, cotangent = data()
    spikes, d_params, d_currents = ours_of(neuron, params, currents, cotangent)
    wanted, gradients, wanted_currents = theirs_of(module, currents, cotangent)
    np.testing.assert_array_equal(spikes, wanted)
    assert 0.1 < (spikes != 0).mean() < 0.9
    np.testing.assert_allclose(d_currents, wanted_currents, rtol=1e-9, atol=1e-12)
    for own, other in names.items():
        wanted = gradients[other].reshape(d_params[own].shape)
        np.testing.assert_allclose(d_params[own], wanted, rtol=1e-9, atol=1e-12, err_msg=own)


def test_a_silent_ternary_neuron_passes_no_gradient_through_its_reset_but_theirs_does():
    currents, cotangent = np.array([[0.3], [0.3]]), np.array([[0.0], [1.0]])
    _, _, ours = ours_of(neurons.ternary(**ATAN), {}, currents, cotangent)
    x = torch.tensor(currents, requires_grad=True)
    ternary(detach_reset=False).double()(x).backward(torch.tensor(cotangent))
    # u = 0.3, 0.375, neither a spike: dz[1]/du[1] = S'(0.375 - 0.5) + S'(-0.375 - 0.5).
    slope = lambda x: 1 / (1 + (np.pi * x) ** 2)
    own = slope(-0.125) + slope(-0.875)
    np.testing.assert_allclose(ours[:, 0], [0.25 * own, own], rtol=1e-9)
    reset = 1 - 0.3 * (slope(-0.2) - slope(-0.8))  # P + N's derivative
    np.testing.assert_allclose(x.grad[:, 0].numpy(), [0.25 * own * reset, own], rtol=1e-9)


def norm_of_both(ours, theirs_norm, names):
    """(results, gradients) of a 3x3 convolution and a norm in training, ours and theirs."""
    steps, batch, size, channels, features = 3, 4, 5, 2, 6
    rng = np.random.default_rng(0)
    x = rng.normal(size=(steps, batch, size, size, channels))
    cotangent = rng.normal(size=(steps, batch, size, size, features))
    with jax.enable_x64(True):
        flat = jnp.asarray(x.reshape(-1, *x.shape[2:]))
        params = ours.init(jax.random.key(0), flat, train=True)["params"]
        params = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), params)

        def apply(params, flat):
            return ours.apply({"params": params}, flat, train=True, mutable=["batch_stats"])[0]

        found, pullback = jax.vjp(apply, params, flat)
        d_params, d_x = pullback(jnp.asarray(cotangent.reshape(found.shape)))
        found, params, d_params, d_x = jax.device_get((found, params, d_params, d_x))
    conv = layer.Conv2d(channels, features, 3, padding=1, bias=False, step_mode="m").double()
    kernel = params["conv"]["kernel"].transpose(3, 2, 0, 1)
    conv.weight.data = torch.tensor(kernel)
    theirs_norm = theirs_norm.double()
    np.testing.assert_allclose(theirs_norm.weight.detach().numpy(), params["norm"]["scale"])
    given = torch.tensor(np.moveaxis(x, -1, 2), requires_grad=True)
    wanted = theirs_norm(conv(given))
    wanted.backward(torch.tensor(np.moveaxis(cotangent, -1, 2)))
    back = lambda leaf: np.moveaxis(leaf.detach().numpy(), 2, -1)
    own = {
        "result": found.reshape(cotangent.shape),
        "d_x": d_x.reshape(x.shape),
        "d_kernel": d_params["conv"]["kernel"].transpose(3, 2, 0, 1),
        "d_scale": d_params["norm"]["scale"],
        **{name: d_params[name] for name in names},
    }
    other = {
        "result": back(wanted),
        "d_x": back(given.grad),
        "d_kernel": conv.weight.grad.numpy(),
        "d_scale": theirs_norm.weight.grad.numpy(),
        **{name: getattr(theirs_norm, theirs).grad.numpy() for name, theirs in names.items()},
    }
    return own, other


@pytest.mark.parametrize("name", ["tdbn", "tebn"])
def test_norms_are_equal(name):
    # gamma 0.5 is alpha = 1 and a threshold of 0.5, as `config.model.tdbn` starts it.
    fields = {"gamma": 0.5} if name == "tdbn" else {"norm": "tebn", "timesteps": 3}
    norm = {
        "tdbn": lambda: layer.ThresholdDependentBatchNorm2d(1.0, 0.5, 6),
        "tebn": lambda: layer.TemporalEffectiveBatchNorm2d(3, 6),
    }[name]()
    names = {"timestep_scale": "scale"} if name == "tebn" else {}
    own, other = norm_of_both(layers.ConvNorm(6, dtype=jnp.float64, **fields), norm, names)
    for key, value in own.items():
        np.testing.assert_allclose(value, other[key], rtol=1e-9, atol=1e-11, err_msg=key)
