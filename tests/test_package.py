"""What `import lnm_jax` costs and needs."""

import importlib
import inspect
import pkgutil
import subprocess
import sys
import typing

import pytest

import lnm_jax

HEAVY = [
    "matplotlib",
    "tensorboardX",
    "tensorflow",
    "tensorflow_datasets",
    "tonic",
    "grain",
    "sklearn",
    "PIL",
    "tqdm",
    "ml_collections",
    "absl",
]
# Stands for a machine where only jax, flax, optax, orbax and jaxtyping are installed.
BLOCKED = f"""
import sys
before = set(sys.modules)
import flax.linen
needed = {{name.split(".")[0] for name in sys.modules}}
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {HEAVY!r} and name.split(".")[0] not in needed:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Missing())
import lnm_jax
loaded = {{name.split(".")[0] for name in sys.modules}} - needed
assert not loaded & set({HEAVY!r}), loaded
"""


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def test_import_pulls_in_no_optional_package():
    result = python(BLOCKED)
    assert result.returncode == 0, result.stderr


def test_the_block_would_stop_an_import():
    result = python(BLOCKED + "\nimport tonic")
    assert "ModuleNotFoundError: tonic" in result.stderr


def test_training_needs_only_the_four_packages_to_import():
    result = python(BLOCKED + "\nimport lnm_jax.training.loop, lnm_jax.analysis.dynamics")
    assert result.returncode == 0, result.stderr


def test_neurons_cost_little_beside_jax():
    # 1.04 times `import jax`; each of these would make it 1.1 and more.
    heavy = {"flax", "optax", "jax.experimental.pallas"}
    result = python(f"import sys, lnm_jax.neurons; print({heavy} & {{*sys.modules}})")
    assert result.stdout == "set()\n", result.stdout + result.stderr


def public(package):
    """Functions and classes of a package's modules, with the classes' public methods."""
    module = importlib.import_module(f"lnm_jax.{package}")
    for info in pkgutil.iter_modules(module.__path__, f"{module.__name__}."):
        for name, item in vars(importlib.import_module(info.name)).items():
            if getattr(item, "__module__", "") != info.name or name.startswith("_"):
                continue
            methods = vars(item).items() if inspect.isclass(item) else ()
            named = {name: item, **{f"{name}.{key}": method for key, method in methods}}
            for path, found in named.items():
                private = path.rpartition(".")[2].startswith("_") and "__call__" not in path
                if (inspect.isclass(found) or inspect.isfunction(found)) and not private:
                    yield f"{info.name}.{path}", found


@pytest.mark.parametrize("package", lnm_jax.PACKAGES)
def test_type_hints_resolve(package):
    items = dict(public(package))
    assert items
    for name, item in items.items():
        try:
            typing.get_type_hints(item)
        except NameError as error:
            pytest.fail(f"{name}: {error}")
