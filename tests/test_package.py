"""What `import lnm_jax` costs and needs."""

import importlib
import inspect
import os
import pathlib
import pkgutil
import re
import subprocess
import sys
import typing
from importlib.metadata import packages_distributions

import pytest

import lnm_jax
from lnm_jax.errors import EXTRAS, missing_extra

ROOT = pathlib.Path(__file__).resolve().parent.parent

# Stands for an environment without extras.
BLOCKED = f"""
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {[*EXTRAS]}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
"""


def python(code, given=()):
    """Runs code in a process; `given` are its variables in place of the cache of the tests."""
    env = {**os.environ, **dict(given)}
    if given:
        del env["JAX_COMPILATION_CACHE_DIR"]
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)


def test_importing_the_package_loads_no_other():
    code = "import sys; before = {*sys.modules}; import lnm_jax; "
    result = python(code + "print(*{n.split('.')[0] for n in {*sys.modules} - before})")
    assert set(result.stdout.split()) - sys.stdlib_module_names == {"lnm_jax"}, result.stderr


def test_without_extras_all_packages_import_and_a_run_trains(tmp_path):
    fields = {"epochs": 1, "data.examples": 100, "log_every": 1}
    fields |= {"data.eval_batch_size": 100, "directory": tmp_path, "name": "run"}
    arguments = ["train.py", "--config=interval", *(f"--config.{k}={v}" for k, v in fields.items())]
    result = python(
        f"{BLOCKED}from lnm_jax import cli, {', '.join(lnm_jax.PACKAGES)}, load, train\n"
        f"assert cli.main({arguments}) == 0\n"
        f"assert cli.main(['train.py', '--config.directory={tmp_path}']) == 2"
    )
    assert result.returncode == 0, result.stderr
    assert [line for line in result.stderr.splitlines() if "pip install" in line] == [
        "WARNING:root:no events for TensorBoard: tensorboardX is missing; "
        "pip install 'lnm_jax[analysis]'",
        "WARNING:root:no dynamics.png: matplotlib is missing; pip install 'lnm_jax[analysis]'",
        "train.py: sklearn is missing; pip install 'lnm_jax[data]'",
    ]
    assert os.listdir(tmp_path) == ["run"]


def test_a_users_own_missing_module_is_no_extra():
    assert missing_extra(ModuleNotFoundError(name="my_neurons")) is None
    assert missing_extra(ModuleNotFoundError(name="matplotlib.figure")).startswith("matplotlib is")


def requirements(extra):
    """Names of the distributions that requirements/<extra>.txt lists."""
    lines = (ROOT / "requirements" / f"{extra}.txt").read_text().splitlines()
    return {re.match(r"[\w-]+", line).group() for line in lines if not line.startswith("#")}


def test_every_extra_is_known_by_the_names_it_is_imported_by():
    distributions = {package: names[0] for package, names in packages_distributions().items()}
    for extra in set(EXTRAS.values()):
        found = {distributions[package] for package in EXTRAS if EXTRAS[package] == extra}
        assert found == requirements(extra)


def test_requirements_bring_every_list():
    lines = (ROOT / "requirements.txt").read_text().splitlines()[1:]
    lists = sorted((ROOT / "requirements").glob("*.txt"))
    assert sorted(lines) == [f"-r requirements/{path.name}" for path in lists]


def test_the_version_is_the_newest_of_the_changelog():
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == lnm_jax.__version__
    assert f"version: {lnm_jax.__version__}\n" in (ROOT / "CITATION.cff").read_text()


def test_the_compilation_cache_can_be_set_after_jax_is_imported(tmp_path):
    code = "import jax, lnm_jax; lnm_jax.use_compilation_cache(); "
    code += "print(jax.config.jax_compilation_cache_dir)"
    own = {"XDG_CACHE_HOME": str(tmp_path)}
    assert python(code, own).stdout == f"{tmp_path}/lnm_jax/compiled\n"
    chosen = "import jax; jax.config.update('jax_compilation_cache_dir', 'chosen'); "
    assert python(chosen + code, own).stdout == "chosen\n"


def test_dir_shows_what_is_imported_when_it_is_used():
    assert {*lnm_jax.PACKAGES, *lnm_jax.FUNCTIONS} <= {*dir(lnm_jax)}
    assert all(callable(getattr(lnm_jax, name)) for name in lnm_jax.FUNCTIONS)


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
