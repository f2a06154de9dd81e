"""Folding BatchNorm: the folded network is the trained one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lnm_jax import export, models, neurons
from lnm_jax.data import augment
from lnm_jax.training import experiment, loop


@pytest.mark.parametrize("name", ["resnet_small", "vggsnn"])
def test_folded_logits_equal_those_of_random_statistics(name):
    fields = {"widths": ((4, 6), (5,))} if name == "vggsnn" else {"stem": 4, "widths": (4, 6)}
    model = models.build(name, neuron=neurons.lnm(), num_classes=3, timesteps=2, **fields)
    x = jax.random.normal(jax.random.key(0), (4, 8, 8, 2))
    variables = jax.jit(model.init)(jax.random.key(1), x)
    keys = iter(jax.random.split(jax.random.key(2), 100))
    spread = lambda leaf: jnp.exp(0.3 * jax.random.normal(next(keys), leaf.shape)) * (leaf + 0.1)
    variables = jax.tree.map(spread, variables)  # positive: variances, too
    folded_model, folded = export.fold_batch_norm(model, variables)
    assert "batch_stats" not in folded
    np.testing.assert_allclose(
        jax.jit(folded_model.apply)(folded, x), jax.jit(model.apply)(variables, x), atol=1e-4
    )
    with pytest.raises(ValueError, match="folded already"):
        export.fold_batch_norm(folded_model, folded)


def test_a_folded_run_predicts_the_same_on_the_whole_test_set(config):
    config.epochs = 3
    config.spiking.window = 1.5  # its statistics must not be missed
    run = loop.train(config)
    variables = jax.device_get(run.state.variables)
    test, dataset = run.experiment.dataset.test, run.experiment.dataset
    images = augment.normalise(test.images, dataset.mean, dataset.std)
    model, folded = export.fold_batch_norm(run.experiment.model, variables)
    logits = jax.jit(run.experiment.model.apply)(variables, images)
    folded_logits = jax.jit(model.apply)(folded, images)
    np.testing.assert_array_equal(logits.argmax(-1), folded_logits.argmax(-1))
    accuracy = 100 * (folded_logits.argmax(-1) == test.labels).mean()
    wanted = experiment.evaluate(run.experiment, run.state.variables)["accuracy"]
    assert accuracy == pytest.approx(wanted)
