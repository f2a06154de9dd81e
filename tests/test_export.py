"""Folding BatchNorm: the folded network is the trained one."""

import exporting
import jax
import numpy as np
import pytest

from lnm_jax import export
from lnm_jax.data import augment
from lnm_jax.training import steps

NETWORKS = {
    # A fitted surrogate width has statistics of its own, which must not be missed.
    "resnet_small": {"model.widths": (4, 6), "model.blocks": (1, 1), "spiking.window": 1.5},
    "vggsnn": exporting.EVENTS | {"model.widths": ((4, 6), (5,))},
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_folded_network_gives_the_same_logits(name, config):
    config.update_from_flattened_dict(NETWORKS[name])
    run = exporting.run_of(config, exporting.events() if name == "vggsnn" else None)
    dataset, model = run.experiment.dataset, run.experiment.model
    images = np.asarray(dataset.test.images[:60], np.float32)
    images = steps.time_first(augment.normalise(images, dataset.mean, dataset.std))
    folded_model, folded = export.fold_batch_norm(model, run.state.variables)
    assert "batch_stats" not in folded
    wanted = jax.jit(model.apply)(run.state.variables, images)
    assert np.ptp(wanted) > 0.1
    np.testing.assert_allclose(jax.jit(folded_model.apply)(folded, images), wanted, atol=1e-4)
    with pytest.raises(ValueError, match="folded already"):
        export.fold_batch_norm(folded_model, folded)
