"""Shared by all tests: fast compilation, a tiny configuration, and the real command."""

import gc
import os
import pathlib
from importlib import metadata

# Before jax is imported. Worker processes and the commands that tests start share the cache.
ROOT = pathlib.Path(__file__).resolve().parent.parent
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(ROOT / ".pytest_cache" / "jax"))
# However small a program: of those that run op by op there are hundreds.
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

# Programs this small are run for milliseconds: compiling them fast is worth more than running
# them fast. Fusion emitters take half of a compilation, dividing a program for threads a quarter
# of what is left; jaxlib 0.11 does not know the first of these flags.
FAST_TO_COMPILE = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
if metadata.version("jaxlib").startswith("0.10."):
    FAST_TO_COMPILE += " --xla_cpu_use_fusion_emitters=false"
    FAST_TO_COMPILE += " --xla_cpu_parallel_codegen_split_count=1"
os.environ.setdefault("XLA_FLAGS", FAST_TO_COMPILE)

gc.set_threshold(200_000)  # jax makes many small objects while it traces: a tenth of the time

os.environ["LNM_HUGE_PAGES"] = "0"  # a restart costs time; one test asks for it

import subprocess
import sys

import pytest

sys.path.insert(0, str(ROOT))  # train.py and configs/ are the repository's, not the package's

from lnm_jax.configs import digits

TINY = {
    "progress": False,
    "epochs": 2,
    "timesteps": 2,
    "log_every": 2,
    "model.stem": 4,
    "model.widths": (4,),
    "model.blocks": (1,),
    "data.batch_size": 480,  # 3 steps an epoch
}


@pytest.fixture
def config(tmp_path):
    """A configuration of a few seconds, with a run directory of its own."""
    config = digits.get_config()
    config.directory, config.name = str(tmp_path), "run"
    config.update_from_flattened_dict(TINY)
    return config


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory):
    """A tiny trained network, read back from its directory; what uses it leaves it as it is."""
    from lnm_jax.training import loop
    from lnm_jax.training.run import load

    config = digits.get_config()
    config.directory, config.name = str(tmp_path_factory.mktemp("runs")), "trained"
    config.update_from_flattened_dict(TINY | {"data.eval_batch_size": 60})
    return load(loop.train(config).directory)


@pytest.fixture
def pretend_gpu():
    """Lowers for an H200 where there is none: from jax 0.11 on Pallas asks which GPU it is for."""
    from jax.sharding import AbstractDevice, AbstractMesh, use_abstract_mesh

    gpu = AbstractDevice(device_kind="NVIDIA H200", num_cores=132, platform="gpu")
    with use_abstract_mesh(AbstractMesh((), (), abstract_device=gpu)):
        yield


@pytest.fixture
def command(tmp_path):
    """Starts the real `python train.py` on the tiny configuration; returns the process."""

    def start(*arguments, devices=None, tiny=True):
        fields = TINY if tiny else {}
        fields = [f"--config.{key}={value}" for key, value in fields.items()]
        env = dict(os.environ)
        if devices:
            env["XLA_FLAGS"] += f" --xla_force_host_platform_device_count={devices}"
        return subprocess.Popen(
            [sys.executable, str(ROOT / "train.py"), *fields, *arguments],
            cwd=tmp_path,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


def pytest_addoption(parser):
    parser.addoption("--full", action="store_true", help="every combination of neuron options")
