"""ResNet-19 equals one written in PyTorch: logits, gradients, statistics and every spike.

With -s the largest errors are printed; with --full the published width is compared, too.
"""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lnm_jax import export, layers, models, neurons
from lnm_jax.training import losses

torch = pytest.importorskip("torch")

from torch_resnet import ConvNorm, Neuron, ResNet19

torch.set_num_threads(1)
TIMESTEPS, CLASSES = 4, 10
NARROW = {"stem": 4, "widths": (4, 4, 8), "head": 16}
PUBLISHED = {"stem": 128, "widths": (128, 256, 512), "head": 256}
# Arguments of `problem`: images are (B, H, W, C), frames (T, B, H, W, C).
CASES = {
    "lif-images": {"degree": 0, "shape": (2, 16, 16, 3)},
    "lnm-frames": {"degree": 3, "shape": (TIMESTEPS, 2, 16, 16, 2)},
}
PUBLISHED_CASE = {
    "lif-images-published": {"degree": 0, "shape": (2, 32, 32, 3), "fields": PUBLISHED}
}
# Relative errors. Float64 rounds by 1e-16, and thousands of terms are summed a layer.
TOLERANCE = 1e-11
# Flax's names of leaves that PyTorch calls otherwise.
NAMES = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}


def name_of(path):
    """PyTorch's name of a Flax leaf: its path without the collection and "neuron"."""
    *modules, leaf = (entry.key for entry in path if entry.key != "neuron")
    return ".".join([*modules, NAMES.get(leaf, leaf)])


def torch_layout(leaf):
    """HWIO to OIHW, or a dense kernel (inputs, outputs) transposed."""
    axes = {4: (3, 2, 0, 1), 2: (1, 0)}.get(leaf.ndim, (0,))
    return np.transpose(np.asarray(leaf), axes)


def by_name(tree):
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {name_of(path): torch_layout(leaf) for path, leaf in leaves}


def perturbed(variables, rng, dtype):
    """Variables in which no leaf has its initial value, and float64 needs all its digits."""

    def perturb(path, leaf):
        noise, shift = rng.normal(size=(2, *leaf.shape))
        spread = np.asarray(leaf, np.float64) * np.exp(0.1 * noise)
        if path[-1].key not in ("kernel", "var"):
            spread += 0.1 * shift
        return spread.astype(dtype)

    return jax.tree_util.tree_map_with_path(perturb, variables)


def problem(degree, shape, dtype="float64", fields=NARROW, seed=0):
    """A model of ours, its variables and a batch of that shape."""
    model = models.build(
        "resnet19",
        neuron=neurons.lnm(degree=degree) if degree else neurons.lif(),
        num_classes=CLASSES,
        timesteps=TIMESTEPS,
        **fields,
    )
    rng = np.random.default_rng(seed)
    x = rng.normal(size=shape).astype(dtype)
    variables = jax.jit(model.init)(jax.random.key(seed), x.astype("float32"))
    variables = {name: variables[name] for name in ("params", "batch_stats")}
    return types.SimpleNamespace(
        model=model.clone(dtype=jnp.dtype(dtype)),
        variables=perturbed(variables, rng, dtype),
        x=x,
        labels=rng.integers(0, CLASSES, shape[-4]),
        fields=fields | {"inputs": shape[-1], "num_classes": CLASSES, "degree": degree},
    )


def spikes_by_name(intermediates):
    """Spikes of each layer, channels third as in PyTorch."""
    leaves = jax.tree_util.tree_leaves_with_path(intermediates)
    return {
        ".".join(entry.key for entry in path[:-2]): np.moveaxis(np.asarray(leaf), -1, 2)
        for path, leaf in leaves
    }


def ours(p):
    """A training step's loss, logits, gradients, statistics, spikes; an evaluation's."""
    is_spiking = lambda module, _: isinstance(module, layers.Spiking)

    def run(variables, x, labels):
        def loss_fn(params):
            logits, updates = p.model.apply(
                {**variables, "params": params},
                x,
                train=True,
                mutable=["batch_stats", "intermediates"],
                capture_intermediates=is_spiking,
            )
            loss = losses.cross_entropy(logits, labels, 0.0).mean()
            return loss, (logits, updates)

        (loss, (logits, updates)), gradients = jax.value_and_grad(loss_fn, has_aux=True)(
            variables["params"]
        )
        evaluation, seen = p.model.apply(
            variables, x, mutable=["intermediates"], capture_intermediates=is_spiking
        )
        folded_model, folded = export.fold_batch_norm(p.model, variables)
        return {
            "logits": {"loss": loss, "training": logits, "evaluation": evaluation},
            "folded": folded_model.apply(folded, x),
            "gradients": gradients,
            "statistics": updates["batch_stats"],
            "spikes": updates["intermediates"],
            "evaluation spikes": seen["intermediates"],
        }

    with jax.enable_x64(p.x.dtype == "float64"):
        found = jax.device_get(jax.jit(run)(p.variables, p.x, p.labels))
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {p.x.dtype}
    for name in ("gradients", "statistics"):
        found[name] = by_name(found[name])
    for name in ("spikes", "evaluation spikes"):
        found[name] = spikes_by_name(found[name])
    return found


def theirs(p):
    """The same from PyTorch, in float64, and the potentials of the training step."""
    network = ResNet19(**p.fields).double()
    old = by_name(p.variables["params"]) | by_name(p.variables["batch_stats"])
    copied = network.load_state_dict({k: torch.tensor(v) for k, v in old.items()}, strict=False)
    assert not copied.unexpected_keys
    assert all(name.endswith(".num_batches_tracked") for name in copied.missing_keys)
    x = p.x if p.x.ndim == 5 else np.broadcast_to(p.x, (TIMESTEPS, *p.x.shape))
    x = torch.tensor(x.transpose(0, 1, 4, 2, 3), dtype=torch.float64)

    def recorded(kind):
        modules = network.named_modules()
        return {name: getattr(m, kind).numpy() for name, m in modules if isinstance(m, Neuron)}

    with torch.no_grad():
        evaluation = network.eval()(x).numpy()
    evaluation_spikes = recorded("spikes")
    logits = network.train()(x)
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor(p.labels))
    loss.backward()
    statistics = {}
    for name, module in network.named_modules():
        if isinstance(module, ConvNorm):
            statistics[f"{name}.norm.running_mean"] = module.norm.running_mean.numpy()
            # PyTorch's running variance is of unbiased variances, Flax's of biased ones.
            key = f"{name}.norm.running_var"
            kept = 0.9 * old[key]
            unbiased = module.norm.running_var.numpy() - kept
            statistics[key] = kept + unbiased * (module.samples - 1) / module.samples
    return {
        "logits": {
            "loss": loss.detach().numpy(),
            "training": logits.detach().numpy(),
            "evaluation": evaluation,
        },
        "gradients": {name: leaf.grad.numpy() for name, leaf in network.named_parameters()},
        "statistics": statistics,
        "spikes": recorded("spikes"),
        "potentials": recorded("potentials"),
        "evaluation spikes": evaluation_spikes,
    }


def errors(got, want):
    """Largest difference of each array, as a share of its largest value."""
    assert got.keys() == want.keys()
    return {k: np.abs(got[k] - want[k]).max() / np.abs(want[k]).max() for k in want}


def check(found, tolerance):
    """Every error is below the tolerance; a NaN is not."""
    worst = max(found, key=found.get)
    print(f"\n{len(found)} arrays, largest relative error {found[worst]:.1e}: {worst}")
    assert all(error < tolerance for error in found.values()), found


def pytest_generate_tests(metafunc):
    if "compared" in metafunc.fixturenames:
        cases = CASES | (PUBLISHED_CASE if metafunc.config.getoption("--full") else {})
        cases = [pytest.param(fields, id=name) for name, fields in cases.items()]
        metafunc.parametrize("compared", cases, indirect=True, scope="module")


@pytest.fixture(scope="module")
def compared(request):
    """(ours, theirs) of a case, in float64."""
    p = problem(**request.param)
    return ours(p), theirs(p)


def test_every_spike_of_training_and_evaluation_is_equal(compared):
    got, want = compared
    for mode in ("spikes", "evaluation spikes"):
        assert got[mode].keys() == want[mode].keys()
        print(f"\n{mode}: {sum(spikes.size for spikes in want[mode].values()):,}")
        for name, spikes in want[mode].items():
            np.testing.assert_array_equal(got[mode][name], spikes, err_msg=name)
            assert 0.01 < spikes.mean() < 0.9, f"{name} tells nothing: rate {spikes.mean()}"


def test_logits_and_loss_are_equal_in_training_and_evaluation(compared):
    got, want = compared
    check(errors(got["logits"], want["logits"]), TOLERANCE)


def test_folded_logits_equal_those_of_evaluation(compared):
    got, want = compared
    check(errors({"folded": got["folded"]}, {"folded": want["logits"]["evaluation"]}), TOLERANCE)


def test_the_gradient_of_every_parameter_is_equal(compared):
    got, want = compared
    check(errors(got["gradients"], want["gradients"]), TOLERANCE)


def test_running_statistics_are_updated_alike(compared):
    got, want = compared
    check(errors(got["statistics"], want["statistics"]), TOLERANCE)
