"""Numbers that are not finite are said: they never end in a plausible accuracy or an export."""

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from lnm_jax import data, neurons
from lnm_jax.analysis import report, verification
from lnm_jax.errors import NonFiniteError
from lnm_jax.export import network
from lnm_jax.training import experiment, health

pytestmark = pytest.mark.xdist_group("report")  # one process: they share a run

THETA = "params/stem_spike/neuron/theta"


@pytest.mark.parametrize("kind", neurons.NEURONS)
def test_a_nan_current_gives_no_plausible_spikes(kind):
    neuron = neurons.build(kind)
    currents = np.zeros((4, 3), np.float32)
    currents[2, 1] = np.nan
    spikes = np.asarray(neurons.run(neuron, neuron.init(jax.random.key(0)), currents))
    assert np.isnan(spikes[2:, 1]).all()
    assert np.isfinite(spikes[:, ::2]).all()


def with_array(run, name, change):
    """The run with another array of that name."""
    arrays = flatten_dict(jax.device_get(run.variables), sep="/")
    changed = unflatten_dict(arrays | {name: np.float32(change(arrays[name]))}, sep="/")
    return run._replace(state=run.state.replace(**changed))


LOOKS = {
    "evaluate": lambda run: run.evaluate(),
    "predict": lambda run: run.predict(run.experiment.dataset.test.images[:4]),
    "health": lambda run: health.measure(run.experiment, run.state),
    "report": lambda run: report.make(run, examples=60),
    "export": network.prepare,
}


@pytest.mark.parametrize("name", LOOKS)
def test_a_parameter_that_is_nan_is_named(name, trained_run):
    ill = with_array(trained_run, THETA, lambda x: x * np.nan)
    with pytest.raises(NonFiniteError, match=r"parameter stem_spike/neuron/theta$") as raised:
        LOOKS[name](ill)
    assert str(raised.value).startswith(f"{trained_run.directory}: ")


def test_a_check_of_a_run_says_it(trained_run):
    ill = with_array(trained_run, THETA, lambda x: x * np.nan)._replace(records=[])
    holds, words = verification._evaluated("last", ill)
    assert (holds, words) == (
        False, "last checkpoint, step 6: not finite: parameter stem_spike/neuron/theta"
    )  # fmt: skip


def test_what_is_first_is_named(trained_run):
    name = "batch_stats/stem/norm/var"
    ill = with_array(trained_run, name, lambda x: x * np.nan)
    with pytest.raises(NonFiniteError, match="first in statistic stem/norm/var"):
        ill.evaluate()
    # Finite weights of both signs, whose products overflow.
    ill = with_array(trained_run, "params/stem/conv/kernel", lambda x: np.sign(x) * 3e38)
    with pytest.raises(NonFiniteError, match=r"first in layer stem/conv$"):
        ill.evaluate()


def test_training_counts_an_example_that_is_not_finite_as_wrong(trained_run, caplog):
    this, test = trained_run.experiment, trained_run.experiment.dataset.test
    images = test.images[:60].astype(np.float32)
    images[7, 0, 0] = np.nan
    found = experiment.evaluate(
        this, trained_run.variables, data.Split(images, test.labels[:60]), strict=False
    )
    assert "1 of 60 examples give numbers that are not finite, and count as wrong" in caplog.text
    others = data.Split(np.delete(images, 7, 0), np.delete(test.labels[:60], 7))
    wanted = trained_run.evaluate(others)
    assert found["not_finite"] == 1
    assert "not_finite" not in wanted
    np.testing.assert_allclose(found["accuracy"] * 60, wanted["accuracy"] * 59)
    for loss in ("loss", "cross_entropy"):
        np.testing.assert_allclose(found[loss], wanted[loss], rtol=1e-5)
    with pytest.raises(NonFiniteError, match=r"first in image 7 of the batch$"):
        trained_run.evaluate(data.Split(images, test.labels[:60]))
