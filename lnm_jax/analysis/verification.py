"""Whether a run's numbers hold: checkpoints, data and operations looked at again."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from lnm_jax import data, models
from lnm_jax.errors import ConfigError, NonFiniteError
from lnm_jax.training import health
from lnm_jax.training.run import Run, load

TOLERANCE = 1e-4  # of a loss, relative: another machine or number of devices rounds otherwise


def verify(directory: str) -> list[tuple[bool, str]]:
    """(whether it holds, in a sentence) of each thing that a run claims.

    The data are those that it began with; the numbers of the last and the best checkpoint are
    finite, and give the accuracy and loss of their records; no test example is a training example;
    MACs and weights of every layer are those of the arrays that a pass through the network
    multiplies.

    Args:
      directory: of the run, finished or not.
    Raises: ConfigError if there is no such run.
    """
    run = load(directory)
    try:
        dataset = run.experiment.dataset
    except ConfigError as error:
        return [(False, str(error))]
    info = run.experiment.info
    found = [(True, f"data: {info.train} training and {info.test} test examples, as they were")]
    for name, one in (("last", run), ("best", load(directory, best=True, dataset=dataset))):
        found.append(_evaluated(name, one))
    shared = data.in_both(dataset)
    if shared is None:
        found.append((True, "examples in both splits: not looked for, examples are streamed"))
    else:
        found.append((not shared, f"{shared} test examples are training examples too"))
    return [*found, _counted(run)]


def _evaluated(name: str, run: Run) -> tuple[bool, str]:
    step = int(run.state.step)
    records = [r for r in run.records if (r["split"], r["step"]) == ("test", step)]
    what = f"{name} checkpoint, step {step}"
    if found := health.non_finite_array(run.variables):
        return False, f"{what}: not finite: {found}"
    if not records:
        return True, f"{what}: no evaluation is recorded"
    try:
        found = run.evaluate()
    except NonFiniteError as error:
        return False, f"{what}: {error}"
    same = found["accuracy"] == records[0]["accuracy"]
    same &= bool(np.isclose(found["loss"], records[0]["loss"], rtol=TOLERANCE))
    words = (
        f"accuracy {found['accuracy']:.2f} % and loss {found['loss']:.4f}, recorded "
        f"{records[0]['accuracy']:.2f} % and {records[0]['loss']:.4f}"
    )
    return same, f"{what}: {words}"


def _counted(run: Run) -> tuple[bool, str]:
    """MACs of convolutions and dense layers, of one example and timestep, by what they multiply."""
    this, recounted = run.experiment, {}

    def intercept(call, args, kwargs, context):
        result = call(*args, **kwargs)
        module = context.module
        if isinstance(module, nn.Conv | nn.Dense) and context.method_name == "__call__":
            kernel = module.get_variable("params", "kernel")
            places = result.shape[1:-1] if result.ndim == 4 else ()  # the first axis is T*B or 1
            recounted["/".join(module.path)] = int(np.prod(places)) * kernel.size
        return result

    with nn.intercept_methods(intercept):
        jax.eval_shape(this.model.apply, run.variables, jnp.zeros(this.input_shape))
    counted = {
        row.path: row.macs for row in models.counts(this.model, this.input_shape) if row.weights
    }
    counted = {path: macs for path, macs in counted.items() if path in recounted}
    total = sum(counted.values())
    again = sum(recounted.values())
    words = f"operations: {total:,} multiply-accumulates a timestep, recounted {again:,}"
    return counted == recounted, words
