"""What `import lnm_jax` costs and needs."""

import subprocess
import sys

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
    "jaxtyping",
]
# Stands for a machine where only jax, flax, optax and orbax are installed.
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


def test_import_starts_as_fast_as_flax():
    # Ratio within one process each: flax.linen is most of what lnm_jax imports.
    code = """
import time
start = time.perf_counter(); import flax.linen; flax_seconds = time.perf_counter() - start
start = time.perf_counter(); import lnm_jax; own_seconds = time.perf_counter() - start
assert own_seconds < 0.3 * flax_seconds, (own_seconds, flax_seconds)
"""
    result = python(code)
    assert result.returncode == 0, result.stderr
