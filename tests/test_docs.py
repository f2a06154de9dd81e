"""Pages: their Python runs, their commands are read as written, what they name is there."""

import argparse
import importlib
import inspect
import json
import os
import pathlib
import pkgutil
import re
import runpy
import shlex
import sys
import tomllib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from packaging.requirements import Requirement

import benchmarks
import lnm_jax
import reproduction
from lnm_jax import cli, data, neurons
from lnm_jax.configs import base
from lnm_jax.neurons import kernel, over_time
from lnm_jax.training import configuration, loop

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "benchmarks/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
FILE = re.compile(r"\.(py|json|jsonl|png|csv|npz|html|toml|npy)$")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
by_name = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def blocks(page, language="python"):
    return [text for name, text in FENCE.findall((ROOT / page).read_text()) if name == language]


def spans(page):
    """What stands between backticks in the page's prose."""
    text = FENCE.sub("", (ROOT / page).read_text())
    return [" ".join(span.split()) for span in re.findall(r"(?<!`)`([^`]+)`(?!`)", text)]


@pytest.fixture
def work(tmp_path, trained_run, monkeypatch):
    """The working directory that pages speak of: trained runs, and modules that pages write."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "runs").mkdir()
    for name in ("quintic", "x", "<name>"):
        (tmp_path / "runs" / name).symlink_to(trained_run.directory)
    (tmp_path / "my_lab").mkdir()
    for name, page, start in (
        ("my_lab/sets.py", "docs/data.md", "def noise"),
        ("my_lab/neurons.py", "docs/neurons.md", "def leaky"),
        ("my_lab/nets.py", "docs/use.md", "class Net("),
        ("my.py", "docs/neurons.md", "def get_config"),
    ):
        block = next(block for block in blocks(page) if start in block)
        heads = "import jax\nimport jax.numpy as jnp\nfrom lnm_jax import neurons\n"
        (tmp_path / name).write_text(heads + block.partition("\n\n\nnet = ")[0])
    yield tmp_path
    for name in [name for name in sys.modules if name.split(".")[0] == "my_lab"]:
        del sys.modules[name]


@by_name
def test_the_pages_python_runs(page, work):
    namespace = {"images": data.load("digits").test.images[:2]}
    for block in blocks(page):
        assert len(block.splitlines()) <= 24  # a block of docs/use.md: 20 and blank lines
        exec(compile(block, page, "exec"), namespace)
    if "spikes" in namespace:
        assert np.isin(np.asarray(namespace["spikes"]), [0, 1]).all()
    if page.name == "architecture.md":
        assert namespace["Neuron"]._fields == neurons.Neuron._fields
        assert namespace["Neuron"]._field_defaults == neurons.Neuron._field_defaults
    if page.name == "use.md":  # the recipe: 10 % is chance, by SGD as published it gets to 15
        lines = (work / "runs" / "digits" / "metrics.jsonl").read_text().splitlines()
        assert json.loads(lines[-1])["accuracy"] > 45


class Started(BaseException):
    """A command has read its arguments; what it does then has tests of its own."""


@pytest.fixture
def start(monkeypatch):
    """Starts the program of a line, up to where it has read and checked its arguments."""
    read = argparse.ArgumentParser.parse_args

    def parse_args(self, *arguments):
        read(self, *arguments)
        raise Started

    def train(config, **_):
        configuration.validate(config)
        raise Started

    def command(do, *arguments):
        monkeypatch.setattr(sys, "argv", list(arguments))
        with pytest.raises((Started, SystemExit)) as ended:
            do()
        assert ended.type is Started or ended.value.code in (0, None), arguments

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_args)
    monkeypatch.setattr(loop, "train", train)
    return command


def python(start, *arguments):
    """`python` with these arguments."""
    if arguments[0] == "-m":
        module, *rest = arguments[1:]
        if module == "pytest":
            pytests(rest)
        elif module != "venv":
            sys.modules.pop(f"{module}.__main__", None)
            name = module
            start(lambda: runpy.run_module(name, run_name="__main__"), module, *rest)
    elif arguments[0].endswith("bundle/reader.py"):  # tests/test_bundle.py runs it
        assert len(arguments) == 3
    elif arguments[0].endswith("peer_programs.py"):
        program = runpy.run_path(str(ROOT / arguments[0]))[arguments[1]]
        inspect.signature(program).bind(*arguments[2:])
    else:
        path = str(ROOT / arguments[0])
        start(lambda: runpy.run_path(path, run_name="__main__"), *arguments)


def pytests(arguments):
    """`python -m pytest`: the files are there, options known, and -k selects a test."""
    parser = argparse.ArgumentParser()
    for option in ("-n", "-k"):
        parser.add_argument(option)
    for option in ("-s", "--full"):
        parser.add_argument(option, action="store_true")
    parser.add_argument("paths", nargs="*")
    given, unknown = parser.parse_known_args(arguments)
    assert not unknown
    paths = [ROOT / path for path in given.paths]
    assert all(path.exists() for path in paths), arguments
    if given.k:
        names = re.findall(r"^def (test_\w+)", "".join(map(pathlib.Path.read_text, paths)), re.M)
        assert any(given.k in name for name in names), arguments


def pip(start, *arguments):
    """`pip install`: files of requirements and extras are there."""
    assert arguments[0] == "install"
    extras = PROJECT["tool"]["setuptools"]["dynamic"]["optional-dependencies"]
    for argument in arguments[1:]:
        own = re.fullmatch(r"\.(\[(.*)\])?", argument)
        if own:
            assert set((own[2] or "all").split(",")) <= set(extras), argument
        elif argument.endswith(".txt"):
            assert (ROOT / argument).exists(), argument
        elif argument != "-r":
            Requirement(argument)


def ruff(start, *arguments):
    assert arguments in {("check", "."), ("format", ".")}


def script(name):
    """A command that is installed with the package."""
    module, function = PROJECT["project"]["scripts"][name].split(":")
    return lambda start, *rest: start(
        getattr(importlib.import_module(module), function), name, *rest
    )


PROGRAMS = {
    "python": python,
    "pip": pip,
    "ruff": ruff,
    **{name: script(name) for name in PROJECT["project"]["scripts"]},
    "train.py": lambda start, *rest: python(start, "train.py", *rest),
    ".ci/run": lambda start: (ROOT / ".ci" / "run").stat(),
    **dict.fromkeys(("git", "cd", "."), lambda *arguments: None),
}
# A span of prose that is a command, a flag of train.py, or fields and their values.
COMMAND = re.compile(r"(python|pip|lnm-\w+|train\.py) \S|\.ci/run$")
FIELDS = re.compile(r"(--(config|resume)\b\S*|[a-z]+\.\w+=\S+)( |$)")
STANDS_FOR = {"NAME": {"reproduce.py": "table1", "benchmarks": "neuron"}, "RUN": "runs/x"}


def run(line, start):
    """Runs a line of a shell: commands joined by && or ;, with variables before them."""
    words = shlex.shlex(line, posix=True, punctuation_chars="&;")
    words.whitespace_split = True
    words.commenters = "#"
    command = []
    for word in [*words, "&&"]:
        if word in ("&&", ";"):
            while command and re.match(r"[A-Z_]+=", command[0]):
                del command[0]
            if command:
                name = command[0] if command[0] in PROGRAMS else os.path.basename(command[0])
                PROGRAMS[name](start, *command[1:])
            command = []
        elif word == "NAME":
            command.append(STANDS_FOR["NAME"][command[-1]])
        else:
            command.append(re.sub(r"\bRUN\b", "runs/x", re.sub("=N$", "=3", word)))


@by_name
def test_the_pages_commands_are_read_as_they_stand(page, start, work):
    assert {name for name, _ in FENCE.findall(page.read_text())} <= {"python", "sh", ""}
    plain = "".join(blocks(page, "")).splitlines()
    assert not any(COMMAND.match(line.strip()) for line in plain)
    (work / "runs" / "digits").symlink_to(work / "runs" / "x")
    for block in blocks(page, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            run(line, start)
    for span in spans(page):
        if span in ("python reproduce.py", "python -m benchmarks"):
            run(f"{span} --help", start)
        elif COMMAND.match(span):
            run(span, start)
        elif re.fullmatch(r"(['\"]).*\[.*\]\1", span):  # extras
            run(f"pip install {span}", start)
        elif FIELDS.match(span):
            words = [word if word[0] == "-" else f"--config.{word}" for word in span.split()]
            network = [] if span[0] == "-" else ["--config=cifar10_resnet19"]
            run(" ".join(["train.py", *network, *words]), start)


def test_commands_of_docstrings_and_help_are_read_as_they_stand(start, work):
    (work / "configs").mkdir()
    (work / "configs" / "x.py").write_text((work / "my.py").read_text())
    texts = [cli.HELP, cli.ANALYSIS, importlib.import_module("reproduction.cli").__doc__]
    for path in sorted((ROOT / "lnm_jax" / "configs").glob("*.py")):
        texts.append(importlib.import_module(f"lnm_jax.configs.{path.stem}").__doc__ or "")
        os.symlink(ROOT / "configs" / path.name, work / "configs" / path.name)
    lines = re.findall(r"^python .*?(?=  |$)", "\n".join(texts), re.MULTILINE)
    assert len(lines) > 15
    for line in lines:
        run(re.sub(r" \[.*", "", line), start)
    for module in ("lnm_jax", "lnm_jax.analysis", "lnm_jax.export", "benchmarks"):
        run(f"python -m {module} --help", start)


# What is neither a module of the project by its last name nor one of another package.
SHORT = {
    "jnp": "jax.numpy",
    "lax": "jax.lax",
    "nn": "flax.linen",
    "nnx": "flax.nnx",
    "ocp": "orbax.checkpoint",
    "model": "flax.linen.Module",
    "network": "flax.linen.Module",
    "neuron": "lnm_jax.neurons.Neuron",
    "run": "lnm_jax.training.run.Run",
    "state": "lnm_jax.training.steps.TrainState",
}
ELSEWHERE = {"SHD", "ToFrame", "D_frames", "PYTHONPATH"}  # tonic's, a folder of data, the shell's


def modules():
    """Names of the project's modules, by all ends of them: lnm_jax.data is also data."""
    ends = {}
    for package in (lnm_jax, reproduction, benchmarks):
        for own in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            parts = own.name.split(".")
            for first in range(len(parts)):
                if parts[-1] not in ("__main__", "peer_programs"):
                    ends.setdefault(".".join(parts[first:]), []).append(own.name)
    return ends


def is_there(name):
    """Whether a dotted name leads somewhere: to a module, what is in it, or a class's field."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            thing = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for part in parts[count:]:
            if part in getattr(thing, "__annotations__", {}):
                return True
            if not hasattr(thing, part):
                return False
            thing = getattr(thing, part)
        return True
    return False


def test_names_in_prose_and_docstrings_are_there():
    ends, fields = modules(), set(configuration.flatten(base.get_config()))
    fields |= {field.rpartition(".")[0] for field in fields}
    words = ELSEWHERE | set(
        re.findall(r"^([A-Z]+) =", (ROOT / "tests/catalogue.py").read_text(), re.M)
    )
    for own in {own for names in ends.values() for own in names}:
        words.update(vars(importlib.import_module(own)))
    sources = [path for name in ("lnm_jax", "reproduction") for path in (ROOT / name).rglob("*.py")]
    texts = {path: spans(path) for path in [*PAGES, *sources]}
    missing = []
    for path, span in ((page, span) for page in texts for span in texts[page]):
        name = re.match(r"[\w./]*", span)[0]
        first, _, rest = name.partition(".")
        if re.fullmatch(r"[\w/]+/[\w.]*\w\.\w+", name):  # a file
            there = (ROOT / name).exists() or (ROOT / "lnm_jax" / name).exists()
        elif re.fullmatch(r"[a-z]\w*(\.[A-Za-z]\w*)+", name) and not FILE.search(name):
            roots = [*ends.get(first, []), SHORT.get(first, first)]
            there = rest in fields if first == "config" else name in fields
            there = there or any(is_there(f"{root}.{rest}") for root in roots)
        elif re.fullmatch(r"[A-Z]\w+", span) and not span.startswith("JAX_"):
            there = span in words
        else:
            continue
        if not there:
            missing.append((path.name, span))
    assert not missing


@by_name
def test_no_line_of_prose_is_lost_as_a_comment(page):
    assert not re.findall(r"^%.*", FENCE.sub("", page.read_text()), re.MULTILINE)


@by_name
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text()):
        path, _, section = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE) if section else []
        assert not section or section in {h.lower().replace(" ", "-") for h in headings}, link


@pytest.mark.usefixtures("pretend_gpu")
def test_a_users_neuron_is_short_and_gets_every_backend():
    source = next(block for block in blocks("docs/neurons.md") if "def resonate" in block)
    body = source.split('"""')[2].split("return neurons.Neuron")[0]
    assert len([line for line in body.splitlines() if line.strip()]) < 15
    namespace = {"jnp": jnp, "jax": jax, "neurons": neurons, "currents": jnp.zeros((2, 3))}
    exec(source, namespace)
    neuron = namespace["resonate"]()
    params = neuron.init(jax.random.key(0))
    currents = jax.random.normal(jax.random.key(1), (6, 40)) + 0.3
    weights = jax.random.normal(jax.random.key(2), currents.shape)
    results = []
    for run in (
        over_time.scan,
        lambda *args: neurons.run(*args, backend="fused"),
        lambda *args: kernel.run(*args, True),
    ):
        loss = lambda p, c, run=run: (run(neuron, p, c) * weights).sum()
        results.append(jax.jit(jax.value_and_grad(loss, (0, 1)))(params, currents))
    assert 0 < over_time.scan(neuron, params, currents).mean() < 1
    for other in results[1:]:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-4, 1e-5), other, results[0])
    assert kernel.refusal(neuron, params, currents) is None
