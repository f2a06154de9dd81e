"""All backends give one neuron's spikes and gradients, for every neuron, surrogate and reset.

Every option stands in at least one case; `--full` runs every neuron with every surrogate and every
reset.
"""

import functools
import itertools
import logging
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from catalogue import GRADED, RESETS, VARIANTS, jitted, trained

from lnm_jax import neurons
from lnm_jax.neurons import kernel, over_time
from lnm_jax.recompute import recomputed

EVERY = VARIANTS | GRADED
# Odd sizes, which no block divides, and one larger than a block of the kernel.
SHAPES = [(3, 7, 5), (1,), (2, 130), (1031,)]
TIMESTEPS = [2, 3, 1, 4]
DTYPES = ["float32", "bfloat16"]
SCOPES = ["layer", "channel"]
# The draws of a random one depend on how a backend rounds.
SURROGATES = [name for name in neurons.SURROGATES if name != "localzo"]


def cases(full):
    """(variant, surrogate, reset, T, shape, dtype, scope)."""
    surrogates = itertools.cycle(SURROGATES)
    options = [(variant, next(surrogates), n // 2 % len(RESETS)) for n, variant in enumerate(EVERY)]
    if full:
        options = itertools.product(EVERY, SURROGATES, range(len(RESETS)))
    for n, named in enumerate(options):
        timesteps = TIMESTEPS[n % 4] if n else 10  # which compiles longest: once
        shape, dtype = SHAPES[(n + n // 4) % 4], DTYPES[n // 2 % 2]
        yield *named, timesteps, shape, dtype, SCOPES[(n + n // 3) % 2]


def pytest_generate_tests(metafunc):
    if "case" in metafunc.fixturenames:
        found = list(cases(metafunc.config.getoption("--full")))
        metafunc.parametrize("case", found, ids=lambda case: "-".join(map(str, case)))


def test_the_short_form_holds_every_option():
    options = [EVERY, SURROGATES, range(len(RESETS)), [*TIMESTEPS, 10], SHAPES, DTYPES, SCOPES]
    for held, wanted in zip(zip(*cases(full=False), strict=True), options, strict=True):
        assert set(held) == set(wanted)


interpreted = functools.partial(kernel.run, interpret=True)


def gradients(run, params, currents, cotangent):
    spikes, pullback = jax.vjp(run, params, currents)
    return spikes, *pullback(cotangent)


@pytest.mark.usefixtures("pretend_gpu")
def test_backends_agree_and_the_kernels_lower_for_cuda(case):
    variant, surrogate, reset, timesteps, shape, dtype, scope = case
    neuron = neurons.build(**EVERY[variant], **RESETS[reset], surrogate=surrogate)
    temperature = jnp.float32(1.5)
    if scope == "channel":
        neuron = neurons.per_channel(neuron, shape[-1])
        temperature = jnp.linspace(0.5, 3, shape[-1])
    params = trained(neuron)
    if surrogate == "dspike":  # as training may search it
        params["temperature"] = temperature
    rng = np.random.default_rng(zlib.crc32(repr(case).encode()))
    currents = jnp.asarray(rng.normal(0.25, 0.5, (timesteps, *shape)), dtype)
    cotangent = jnp.asarray(rng.normal(size=currents.shape), dtype)

    @jax.jit
    def all_backends(*arguments):
        return [
            gradients(functools.partial(run, neuron), *arguments)
            for run in (over_time.scan, over_time.fused, interpreted)
        ]

    scan, *others = all_backends(params, currents, cotangent)
    assert scan[0].dtype == dtype
    assert not np.any(scan[1].get("temperature", 0))
    for other in others:
        np.testing.assert_array_equal(other[0], scan[0])
        for got, want in zip(jax.tree.leaves(other[1:]), jax.tree.leaves(scan[1:]), strict=True):
            assert got.dtype == want.dtype
            rounded = got.dtype == jnp.bfloat16
            got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
            # bfloat16 gradients are float32 ones rounded to 8 bits.
            tolerance = 1e-2 if rounded else 1e-5
            scale = max(np.abs(want).max(initial=0), 1e-2)  # of gradients that are 0, too
            np.testing.assert_allclose(got / scale, want / scale, atol=tolerance)
    assert kernel.refusal(neuron, params, currents) is None


@pytest.mark.usefixtures("pretend_gpu")
def test_the_kernel_lowers_for_a_parameter_of_each_of_many_channels():
    neuron = neurons.per_channel(neurons.lnm(surrogate="sigmoid", reset="soft"), 130)
    for dtype in (jnp.float32, jnp.bfloat16):
        currents = jnp.zeros((2, 3, 130), dtype)
        assert kernel.refusal(neuron, neuron.init(jax.random.key(0)), currents) is None


def unusual():
    """A neuron that sorts its parameters, which Triton cannot."""
    lif = neurons.lif()

    def step(params, v, current):
        return lif.step({}, v, current + jnp.sort(params["b"])[0])

    return lif._replace(init=lambda key: {"b": jnp.arange(3.0)}, step=step)


@pytest.fixture
def gpu_host(monkeypatch):
    """As on a host whose default device is a GPU; computations here are those on its CPU."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")


def test_on_the_cpu_of_a_host_with_a_gpu_neurons_run_and_keep_nothing(gpu_host):
    neuron, currents = neurons.lnm(), 0.6 * jax.random.normal(jax.random.key(0), (4, 50))
    params = trained(neuron)
    run = functools.partial(neurons.run, neuron)
    ours, scan = (
        jitted(gradients, run=one)(params=params, currents=currents, cotangent=currents + 1)
        for one in (run, functools.partial(over_time.scan, neuron))
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-5, 1e-6), ours, scan)
    backward = jax.jit(lambda c: jax.grad(lambda c: recomputed(jnp.sin)(c).sum())(c))
    programs = {
        name: backward.trace(currents).lower(lowering_platforms=(name,)).as_text()
        for name in ("cpu", "cuda")
    }
    assert "stablehlo.case" in programs["cpu"]
    assert "optimization_barrier" not in programs["cpu"]
    assert "optimization_barrier" in programs["cuda"]


def test_a_neuron_that_the_kernel_cannot_trace_runs_as_a_scan_and_says_why(caplog, gpu_host):
    neuron = unusual()
    params, currents = neuron.init(jax.random.key(0)), jnp.full((3, 4), 0.4)
    over_time._log_once.cache_clear()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            spikes = over_time.fused(neuron, params, currents)
    np.testing.assert_array_equal(spikes, over_time.scan(neuron, params, currents))
    assert len(caplog.records) == 1  # one line, once
    assert "'scan' instead of the GPU kernel" in caplog.text


@pytest.mark.parametrize(("timesteps", "channels"), [(2, None), (3, 3), (2, 40)])
def test_a_program_that_goes_through_several_blocks_sums_them_all(timesteps, channels, monkeypatch):
    # Blocks of 32 neurons: the last program's last blocks are beyond the end.
    launch = kernel._Launch(block=32, warps=1, blocks=3)
    monkeypatch.setattr(kernel, "_BACKWARD", {timesteps: launch})
    neuron = neurons.lnm(degree=2)
    if channels:
        neuron = neurons.per_channel(neuron, channels)
    params = trained(neuron)
    shape = (timesteps, 11, 7, channels or 3)
    currents = 0.2 + 0.6 * jax.random.normal(jax.random.key(0), shape)
    cotangent = jax.random.normal(jax.random.key(1), shape)
    ours, scan = (
        jitted(gradients, run=functools.partial(run, neuron))(
            params=params, currents=currents, cotangent=cotangent
        )
        for run in (interpreted, over_time.scan)
    )
    for got, want in zip(jax.tree.leaves(ours), jax.tree.leaves(scan), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_every_number_of_timesteps_that_the_kernel_takes_has_blocks():
    assert max(kernel._BACKWARD) == over_time.UNROLL
    assert sorted(kernel._BACKWARD) == list(kernel._BACKWARD)
    assert kernel._backward_launch(1) == kernel._BACKWARD[2]
    assert kernel._backward_launch(over_time.UNROLL) == kernel._BACKWARD[over_time.UNROLL]


def test_the_kernel_refuses_more_currents_than_an_index_can_count():
    neuron = neurons.lif()
    currents = jax.ShapeDtypeStruct((4, 2**29), jnp.float32)
    assert "2147483648 currents" in kernel.refusal(neuron, {}, currents)


def test_the_kernel_refuses_more_timesteps_than_it_can_unroll():
    assert "T = 1000 timesteps are more than 32" in kernel.refusal(
        neurons.lif(), {}, jnp.zeros((1000, 2))
    )
    assert "no neurons" in kernel.refusal(neurons.lif(), {}, jnp.zeros((2, 0)))


@pytest.mark.parametrize("backend", ["auto", *over_time.BACKENDS])
def test_a_thousand_timesteps_work(backend):
    neuron = neurons.lnm()
    params = {"theta": jnp.array([-0.2, 0.1, 0.05])}
    currents = jax.random.normal(jax.random.key(0), (1000, 3)) * 0.3
    run = functools.partial(neurons.run, neuron, backend=backend)
    spikes, d_params, d_currents = jax.jit(functools.partial(gradients, run))(
        params, currents, jnp.ones_like(currents)
    )
    assert 0 < spikes.mean() < 1
    assert np.isfinite(d_params["theta"]).all()
    assert d_currents.shape == currents.shape


def test_a_nan_cotangent_is_not_lost():
    currents = jnp.full((2, 3), 0.3)
    run = functools.partial(over_time.fused, neurons.lif(), {})
    _, pullback = jax.vjp(run, currents)
    (gradient,) = pullback(jnp.full((2, 3), jnp.nan))
    assert np.isnan(gradient).all()


def test_a_layer_keeps_nothing_but_currents_and_spikes_for_its_backward_pass():
    # Temporary memory a layer adds to a chain of layers, in arrays of the currents' size: the
    # currents, and the spikes that the next layer's weights need. XLA's own choice is more.
    def chain(backend, layers, neuron):
        def loss(params, weights, currents):
            for _ in range(layers):
                spikes = neurons.run(neuron, params, currents, backend=backend)
                currents = spikes @ weights
            return (currents**2).sum()

        return jax.grad(loss, (0, 1, 2))

    neuron = neurons.lnm()
    params = jax.eval_shape(neuron.init, jax.random.key(0))
    currents = jax.ShapeDtypeStruct((4, 4096, 32), jnp.float32)
    weights = jax.ShapeDtypeStruct((32, 32), jnp.float32)
    added = {}
    for backend in ("scan", "fused"):
        temporary = [
            jax.jit(chain(backend, layers, neuron))
            .lower(params, weights, currents)
            .compile()
            .memory_analysis()
            .temp_size_in_bytes
            for layers in (2, 4)
        ]
        added[backend] = (temporary[1] - temporary[0]) / 2 / (4 * currents.size)
    assert added["fused"] == pytest.approx(2, abs=0.1)
    assert added["scan"] > 2.5
