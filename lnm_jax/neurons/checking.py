"""Whether a neuron is what the rest of the project takes it for."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from lnm_jax.neurons.neuron import Neuron, Parallel, Params, one_variable, potential
from lnm_jax.neurons.over_time import run, trace

LARGEST = 10.0  # current that must make a neuron spike, in the unit of currents
SHAPE = (2, 5)


def check(neuron: Neuron, params: Params | None = None) -> None:
    """Runs a neuron of anybody's own on some currents and says what is wrong with it.

    That results are in their order, shapes and dtypes are those of the currents, neurons do not
    act on each other, spikes are finite and have a gradient, currents from 0 to 10 make some and 0
    makes none (potentials are of the order of 1, as currents are: in millivolts networks do not
    learn), and that integrate, fire and `Facts` agree with step.

    Args:
      neuron: to be checked.
      params: of it; None for `neuron.init(jax.random.key(0))`.
    Raises: ValueError that names the function, what it gave and what is expected.
    """
    if isinstance(neuron, Parallel):
        raise ValueError("a parallel neuron sees all timesteps at once: it has no step to check")
    if not isinstance(neuron, Neuron):
        raise ValueError(f"a Neuron is checked, got {type(neuron).__name__}; call its factory")
    params = neuron.init(jax.random.key(0)) if params is None else params
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
            name = jax.tree_util.keystr(path)
            raise ValueError(f"params{name} must be floating point, got {jnp.result_type(leaf)}")
    levels = jnp.array([0.0, 0.1, 0.3, 0.6, 1.0, 2.0, 5.0, LARGEST])
    currents = jnp.broadcast_to(levels, (20, *SHAPE, len(levels)))
    _check_step(neuron, params, currents[0])
    traced = trace(neuron, params, currents)
    rest = float(np.abs(np.asarray(potential(traced.before))[0]).max())
    if rest > LARGEST:
        raise ValueError(
            f"reset starts at a potential of {rest:g} in magnitude: potentials must be of the "
            "order of 1, as currents are; rescale millivolts"
        )
    spikes = np.asarray(traced.spikes)
    if not np.isfinite(spikes).all():
        raise ValueError(f"step gave spikes that are not finite for currents from 0 to {LARGEST}")
    if not spikes.any():
        highest = np.abs(np.asarray(potential(traced.before))).max()
        raise ValueError(
            f"step gave no spike in 20 timesteps for constant currents up to {LARGEST:g}, with "
            f"potentials up to {highest:.3g} in magnitude: currents and potentials must be of the "
            "order of 1"
        )
    if not set(np.unique(spikes[..., 0])) <= {-1.0, 0.0, 1.0}:
        raise ValueError(f"spikes must be 0 or 1, got {spikes.flat[0]:.3g} without any current")
    if spikes[..., 0].all():
        raise ValueError(
            "step spikes at every timestep without any current: the threshold must be above the "
            "potential at rest, both of the order of 1"
        )
    gradient = jax.grad(lambda x: run(neuron, params, x, backend="scan").sum())
    slopes = np.asarray(gradient(jnp.broadcast_to(jnp.linspace(0, 2, 64), (4, 64))))
    if not np.isfinite(slopes).all():
        raise ValueError("the gradient of the spikes is not finite for currents from 0 to 2")
    if not slopes.any():
        raise ValueError(
            "the gradient of the spikes is 0 for all currents from 0 to 2: spikes must come from a "
            "surrogate, such as neurons.SURROGATES['arctan'](v_in - threshold)"
        )
    if neuron.integrate is not None:
        _check_phases(neuron, params, currents, traced)


def _check_step(neuron, params, current) -> None:
    """The results of one timestep: order, shapes, dtypes, and no neuron acts on another."""
    state = neuron.reset(current.shape, current.dtype)
    for leaf in jax.tree.leaves(state):
        if leaf.dtype != current.dtype or leaf.shape not in (current.shape, ()):
            raise ValueError(
                f"reset(shape, dtype) must give arrays of that shape and dtype, {current.dtype}"
                f"{list(current.shape)}, got {leaf.dtype}{list(leaf.shape)}"
            )
    after = neuron.step(params, state, current)
    if not (isinstance(after, tuple) and len(after) == 2):
        raise ValueError(f"step must return (state, spikes), got {type(after).__name__}")

    def kinds(tree):
        return jax.tree.map(lambda x: f"{x.dtype}{list(x.shape)}", tree)

    after, spikes = after
    binary = [set(np.unique(x)) <= {0.0, 1.0} for x in (*jax.tree.leaves(after)[:1], spikes)
              if hasattr(x, "shape")]  # fmt: skip
    swapped = binary == [True, False] or (binary == [True] and not hasattr(spikes, "shape"))
    if swapped:
        raise ValueError("step must return (state, spikes), and seems to return (spikes, state)")
    if kinds(after) != kinds(state):
        raise ValueError(
            f"step must return a state like the one it got, {kinds(state)}, got {kinds(after)}"
        )
    if kinds(spikes) != kinds(current):
        raise ValueError(
            f"step must return spikes like the currents, {kinds(current)}, got {kinds(spikes)}"
        )
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((after, spikes))):
        raise ValueError("step gave numbers that are not finite for currents from 0 to 10")
    other = current.at[0, 0, 1].set(0.2)  # of one neuron alone, below its threshold
    changed = neuron.step(params, state, other)
    for one, two in zip(jax.tree.leaves(changed), jax.tree.leaves((after, spikes)), strict=True):
        same = np.array(one == two)
        if not same.shape:
            continue
        same[0, 0, 1] = True
        if not same.all():
            raise ValueError("step must be elementwise: the current of one neuron changed others")


def _check_phases(neuron, params, currents, traced) -> None:
    """`trace` integrates and fires; step, threshold and drift are to say the same."""
    spikes = np.asarray(run(neuron, params, currents, backend="scan"))
    if not (spikes == np.asarray(traced.spikes)).all():
        raise ValueError("fire(integrate(...)) must give the spikes of step; see two_phase")
    facts, v_in = neuron.facts, np.asarray(traced.v_in)
    if facts.threshold is not None and one_variable(neuron):
        wrong = (v_in >= float(facts.threshold)) != (spikes > 0)
        if (wrong & (np.abs(v_in - float(facts.threshold)) > 1e-5)).any():
            raise ValueError(
                f"facts.threshold is {facts.threshold}, but spikes do not begin at that v_in"
            )
    if facts.drift is not None:
        start = neuron.reset((64,), jnp.float32)
        u = jnp.linspace(-1, 1, 64)
        leaves, tree = jax.tree.flatten(start)
        at_u = jax.tree.unflatten(tree, [u, *leaves[1:]])
        f = np.asarray(potential(neuron.integrate(params, at_u, jnp.zeros(64))) - u)
        said = np.asarray(facts.drift.apply(params, u))
        if not np.allclose(f, said, atol=1e-5):
            worst = np.abs(f - said).argmax()
            raise ValueError(
                f"facts.drift gives f({u[worst]:.3g}) = {said[worst]:.4g}, but integrate moves the "
                f"potential by {f[worst]:.4g} without current"
            )
