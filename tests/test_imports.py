"""Imports go down only: a package may import the packages it stands on, and no other."""

import ast
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Each package with all that it may import of this project.
BELOW = {
    "errors": set(),
    "checks": {"errors"},
    "files": {"errors"},
    "launch": set(),
    "recompute": set(),
    "configs": set(),
    "neurons": {"checks", "errors", "recompute"},
    "layers": {"checks", "neurons", "recompute"},
    "models": {"checks", "layers", "neurons"},
    "data": {"checks", "errors", "files", "neurons"},
    "training": {
        "checks",
        "configs",
        "data",
        "errors",
        "files",
        "launch",
        "layers",
        "models",
        "neurons",
    },
    "cli": {"analysis", "checks", "configs", "data", "errors", "export", "launch", "training"},
    "export": {"data", "errors", "files", "launch", "layers", "models", "neurons", "training"},
    "analysis": {"data", "errors", "files", "launch", "layers", "models", "neurons", "training"},
}
# neurons is pure JAX; optional packages are imported inside the functions that use them.
ALLOWED_AT_TOP = {
    "configs": {"ml_collections"},
    "recompute": {"jax"},
    "neurons": {"jax", "jaxtyping", "numpy"},
    "layers": {"jax", "jaxtyping", "numpy", "flax"},
    "models": {"jax", "jaxtyping", "numpy", "flax"},
    "data": {"jax", "jaxtyping", "numpy"},
    "training": {"jax", "jaxtyping", "numpy", "flax", "optax", "orbax"},
    "analysis": {"jax", "jaxtyping", "numpy", "flax"},
    "export": {"jax", "numpy", "flax"},
}


def imported(node):
    """Full dotted names that an import statement may bind."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    assert node.level == 0, "imports are absolute"
    return [f"{node.module}.{alias.name}" for alias in node.names]


def package_of(name):
    parts = name.split(".")
    return parts[1] if parts[0] == "lnm_jax" and len(parts) > 1 else None


def upward(package, source):
    """Rooms that the source of a module in `package` imports and may not."""
    nodes = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Import | ast.ImportFrom)]
    found = {package_of(name) for node in nodes for name in imported(node)}
    return found - BELOW[package] - {package, None}


def test_the_check_finds_an_upward_import():
    assert upward("neurons", "import jax\nfrom lnm_jax.layers import Spiking") == {"layers"}
    assert upward("layers", "def f():\n    from lnm_jax import training") == {"training"}
    assert upward("training", "from lnm_jax import data\nimport lnm_jax.neurons") == set()


def modules():
    for path in sorted((ROOT / "lnm_jax").rglob("*.py")):
        parts = path.relative_to(ROOT / "lnm_jax").parts
        if parts != ("__init__.py",) and path.name != "__main__.py":  # which is cli's
            yield parts[0].removesuffix(".py"), path


def test_every_package_is_listed():
    assert {package for package, _ in modules()} == set(BELOW)


@pytest.mark.parametrize("package", BELOW)
def test_imports_go_down_only(package):
    paths = [path for name, path in modules() if name == package]
    assert paths
    for path in paths:
        assert not upward(package, path.read_text()), path


@pytest.mark.parametrize("package", ALLOWED_AT_TOP)
def test_optional_packages_are_imported_where_they_are_used(package):
    own = ALLOWED_AT_TOP[package] | {"lnm_jax"} | set(sys.stdlib_module_names)
    for path in (path for name, path in modules() if name == package):
        for node in ast.parse(path.read_text()).body:  # statements of the module itself
            if isinstance(node, ast.Import | ast.ImportFrom):
                assert {name.split(".")[0] for name in imported(node)} <= own, path


# A system without the modules of POSIX, as far as this package sees it; msvcrt counts locks.
ELSEWHERE = """
import builtins, importlib, pkgutil, sys, types

def import_(name, names=None, *others, found=builtins.__import__):
    if (names or {}).get("__name__", "").startswith("lnm_jax"):
        if name == "msvcrt":
            return types.SimpleNamespace(LK_NBLCK=2, locking=lambda *args: locks.append(args))
        if name in {"fcntl", "grp", "pwd", "resource", "termios"}:
            raise ModuleNotFoundError(name, name=name)
    return found(name, names, *others)

locks = []
builtins.__import__ = import_
import lnm_jax
for module in pkgutil.walk_packages(lnm_jax.__path__, "lnm_jax."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
from lnm_jax.configs import interval
config = interval.get_config()
config.directory, config.name, config.epochs = sys.argv[1], "run", 1
config.data.examples = config.data.batch_size
run = lnm_jax.load(lnm_jax.train(config).directory)
assert int(run.state.step) == 1 and len(locks) == 1
"""


def test_importing_and_training_need_no_module_of_posix(tmp_path):
    command = [sys.executable, "-W", "error", "-c", ELSEWHERE, str(tmp_path)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert not ended.returncode, ended.stderr


def test_nothing_of_os_is_used_that_is_of_posix_alone():
    """But where it is asked for first, as `launch` does."""
    posix = {"execv", "fork", "getuid", "killpg", "mkfifo", "setsid", "statvfs", "sysconf", "uname"}
    used = set()
    for name, path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and getattr(node.value, "id", None) == "os":
                assert hasattr(os, node.attr)
                used |= {(name, node.attr)} if node.attr in posix else set()
    assert used == {("launch", "execv")}
