"""The neurons room against a float64 reference, and its contract."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lnm_jax import neurons

HERE = pathlib.Path(__file__).parent
CASES = json.loads((HERE / "lnm_golden.json").read_text())
GOLDEN = np.load(HERE / "lnm_golden.npz")


def golden(name, dtype):
    case = {key: jnp.asarray(GOLDEN[f"{name}/{key}"], dtype) for key in
            ("theta", "currents", "cotangent", "spikes", "v_in", "d_theta", "d_currents")}
    fields = {key: value for key, value in CASES[name].items() if key not in "TN"}
    return neurons.lnm(degree=CASES[name]["N"], **fields), case


# float32: 24 bits over at most 10 steps of a few operations; float64: the reference itself.
@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-5), ("float64", 1e-10)])
@pytest.mark.parametrize("name", CASES)
def test_forward_and_backward_equal_algorithm_1(name, dtype, tolerance):
    with jax.enable_x64(dtype == "float64"):
        neuron, case = golden(name, dtype)
        spikes, pullback = jax.vjp(
            lambda theta, currents: neurons.run(neuron, {"theta": theta}, currents),
            case["theta"],
            case["currents"],
        )
        d_theta, d_currents = pullback(case["cotangent"])
        assert spikes.dtype == d_theta.dtype == d_currents.dtype == dtype
        np.testing.assert_array_equal(spikes, case["spikes"])
        for got, want in ((d_theta, case["d_theta"]), (d_currents, case["d_currents"])):
            scale = np.abs(want).max()
            np.testing.assert_allclose(got / scale, want / scale, rtol=tolerance, atol=tolerance)
