"""The real command: what it leaves, what it refuses, and that a killed run loses nothing."""

import json
import os
import pathlib
import platform
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from events_file import agree

from lnm_jax import cli
from lnm_jax.training import configuration, experiment, loop, metrics, run_directory
from lnm_jax.training.checkpoint import Checkpoints


def final_state(directory):
    """The state that a run's last checkpoint holds."""
    config = configuration.read(str(directory))
    with Checkpoints(str(directory / "checkpoints"), keep=2) as checkpoints:
        return checkpoints.restore(experiment.build(config).init())


def finish(process, status=0):
    out, err = process.communicate(timeout=240)
    assert process.returncode == status, err
    return out, err


@pytest.mark.xdist_group("command")
def test_a_killed_run_ends_as_the_undisturbed_one(command, config, tmp_path, capsys, monkeypatch):
    config.name, config.epochs = "whole", 4
    loop.train(config)
    whole, cut = tmp_path / "whole", tmp_path / "runs" / "cut"
    process = command("--config.epochs=4", "--config.name=cut")
    deadline = time.monotonic() + 120
    while not (cut / "checkpoints" / "6").exists():  # N steps of 2N
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert not (cut / "summary.json").exists()
    monkeypatch.chdir(tmp_path)
    assert cli.main(["train.py", "--resume=runs/cut"]) == 0
    assert "mean spike rate" in capsys.readouterr().out

    jax.tree.map(np.testing.assert_array_equal, final_state(cut), final_state(whole))
    assert int(final_state(cut).step) == 12
    assert (cut / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    assert agree(cut, metrics.read(str(cut)))
    names = {
        "checkpoints",
        "config.json",
        "data.json",
        "environment.json",
        "dynamics.png",
        "metrics.jsonl",
        "summary.json",
    }
    assert {path.name for path in cut.iterdir() if "tfevents" not in path.name} == names | {".lock"}
    assert json.loads((cut / "summary.json").read_text())["epochs"] == 4

    # A finished run is only read.
    def stamps():
        return {path: path.stat() for path in cut.rglob("*")}

    before = stamps()
    assert cli.main(["train.py", f"--resume={cut}"]) == 0
    assert "no step was left to do" in capsys.readouterr().out
    assert stamps().keys() == before.keys()
    assert all(now.st_mtime_ns == before[path].st_mtime_ns for path, now in stamps().items())


@pytest.mark.xdist_group("devices")
def test_eight_devices_give_the_parameters_of_one(command, config, tmp_path):
    fields = ("--config.epochs=1", "--config.name=eight", f"--config.directory={tmp_path}")
    process = command(*fields, devices=8)
    config.epochs, config.name = 1, "one"
    loop.train(config)
    finish(process)
    states = [final_state(tmp_path / name) for name in ("one", "eight")]
    start = experiment.build(config).init()
    for path, a in jax.tree_util.tree_leaves_with_path(states[0].params):
        b, first = states[1].params, start.params
        for key in path:
            b, first = b[key.key], first[key.key]
        # Sums in another order, over three steps: rounding of the largest entry.
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * np.abs(a).max() + 1e-6)
        if "kernel" in str(path):
            assert np.abs(np.asarray(a) - first).max() > 1e-3  # it did train
    # BatchNorm saw the whole batch on every device.
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        states[0].batch_stats,
        states[1].batch_stats,
    )
    # One device goes on where eight were: with the same batches, whose losses differ by more.
    records = []
    for name in ("one", "eight"):
        config.name, config.epochs = name, 2
        records.append(loop.train(config, must_resume=True).records)
    assert [x["step"] for x in records[1]] == [2, 3, 4, 6, 6]
    for a, b in zip(*records, strict=True):
        np.testing.assert_allclose(a["loss"], b["loss"], rtol=1e-2)


RECORDED = ["--config.data.name=identify", "--config.loss.name=spike_trains"]
BAD = [
    (
        ["--config.timestep=3"],
        "--config.timestep=3: no such field; did you mean --config.timesteps?",
    ),
    (["--config.neuron.degre=3"], "no such field; did you mean --config.neuron.degree?"),
    (["--config.timesteps=0"], "config.timesteps must be an integer >= 1, got 0"),
    (["--config.timesteps=four"], "--config.timesteps=four"),
    (["--config.neuron.degree=0"], "config.neuron.degree must be an integer >= 1, got 0"),
    (
        ["--config.neuron.kind=lfi"],
        "config.neuron.kind must be one of lnm, lnm_two_variable, if",
    ),
    (["--config.neuron.surrogate=box"], "config.neuron.surrogate must be one of rectangle, tri"),
    (
        ["--config.neuron.bound=hard"],
        "config.neuron.bound must be one of clip, tanh, linear, none",
    ),
    (
        ["--config.neuron.family=sine"],
        "config.neuron.family must be one of polynomial, chebyshev",
    ),
    (
        ["--config.spiking.sharing=neuron"],
        "config.spiking.sharing must be one of layer, channel",
    ),
    (
        ["--config.spiking.window=1", "--config.neuron.kind=adex"],
        "config.spiking.window must be 0.0 for a neuron of several variables, got 1.0",
    ),
    (["--config.model.name=vit"], "config.model.name must be one of resnet_small, resnet19"),
    (
        ["--config.model.name=vggsnn", "--config.model.stem=4"],
        "config.model.stem is not a field of vggsnn; leave it unset",
    ),
    (["--config.compute_dtype=float16"], "config.compute_dtype must be one of float32, bfloat16"),
    (["--config.model.widths=4,8,16"], "config.model.blocks must have one entry for each of"),
    (["--config.data.name=mnist"], "config.data.name must be one of digits, digits_dvs, "),
    (["--config.optimizer.learning_rate=-0.1"], "learning_rate must be >= 0, got -0.1"),
    (["--config.optimizer.neuron_learning_rate=nan"], "neuron_learning_rate must be >= 0, got nan"),
    (["--config.optimizer.warmup_epochs=99"], "warmup_epochs must be at most config.epochs (8)"),
    (
        ["--config.optimizer.name=lion"],
        "config.optimizer.name must be one of sgd, adam, adamw",
    ),
    (["--config.optimizer.decay=step"], "config.optimizer.decay must be one of cosine, linear"),
    (["--config.optimizer.newton_schulz=-1"], "newton_schulz must be an integer >= 0, got -1"),
    (
        ["--config.model.shortcut=spike"],
        "must be one of projection, padding, membrane; got",
    ),
    (
        [
            *("--config.model.name=recorded_layer", "--config.model.tdbn=0"),
            *("--config.data.crop_padding=0", *RECORDED),
        ],
        "config.optimizer.name muon needs a model with kernels before its output layer",
    ),
    (["--config.label_smoothing=1.0"], "config.label_smoothing must be >= 0 and < 1, got 1.0"),
    (["--config.data.batch_size=0"], "config.data.batch_size must be an integer >= 1, got 0"),
    (["--config.name=../x"], "config.name must be the name of one directory, got '../x'"),
    (["--config=configs/none.py"], "configs/none.py"),
    (["--config=intervall"], "or the path of a file; got 'intervall' (did you mean 'interval'?)"),
    (["--config.epochs=3000000"], "config.epochs must be an integer <= 1000000, got 3000000"),
    (["--config.neuron.degree=5000"], "config.neuron.degree must be an integer <= 1000, got 5000"),
    (
        ["--config.neuron.threshold=1e39"],
        "threshold must be at most 3.4e+38, got 1e+39",
    ),
    (["--config.neuron.clip=1e-60"], "clip must be 0 or of size 1.2e-38, got 1e-60"),
    (["--config.neuron=lif"], "--config.neuron=lif: a section; its fields are config.neuron.*"),
    (["--config.model.name=os:getcwd"], "config.model.name must be a Flax module, got os:getcwd"),
    (["--config.directory="], "config.directory must be a path, got ''"),
    (["--resume="], "--resume= must be a run directory, got ''"),
    (
        ["--config.distributed.enabled=true", "--config.distributed.address=nonsense"],
        "distributed.address must be host:port with a port from 1 to 65535, got 'nonsense'",
    ),
    (["--config.distributed.address=a:1"], "enabled must be true beside address, got False"),
    (["--resume=runs/none"], "runs/none: no run here (config.json is missing)"),
    (["--resume=runs/none", "--config.seed=3"], "--resume continues a run with its own"),
    (["epochs=3"], "epochs=3: not a flag"),
    (["--epochs=3"], "--epochs=3: no such field; did you mean --config.epochs?"),
    (["--config.neurn.kind=lif"], "kind=lif: no such field; did you mean --config.neuron.kind?"),
    (["--config.seed=4294967296"], "config.seed must be an integer <= 4294967295, got 4294967296"),
    (["--config.log_every=2147483648"], "log_every must be an integer <= 2147483647, got"),
    (["--config.epochs=x"], "--config.epochs=x: must be an integer"),
    (["--config.data.flip=yes"], "--config.data.flip=yes: must be true or false"),
    (["--config.neuron.kind=LIF"], "got 'LIF' (did you mean 'lif'?)"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD)
def test_bad_input_gets_one_line_and_writes_nothing(
    arguments, message, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["train.py", *arguments]) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert err.startswith("train.py: ")
    assert err.count("\n") == 1
    assert not out
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def get_config():\n    return {}['b']", "my.py, line 2: KeyError: 'b'"),
        ("import os\nos.foo", "my.py, line 2: AttributeError: module 'os' has no attribute 'foo'"),
        ("def get_config(", "my.py, line 1: SyntaxError"),
        ("x = 1", "--config=my.py: has no function get_config"),
        ("import sys\nsys.exit(3)", "my.py, line 2: SystemExit: 3"),
        ("get_config = dict", "--config=my.py: get_config must return a ConfigDict, got dict"),
    ],
)
def test_what_is_wrong_in_a_users_file_is_said_with_its_line(
    source, message, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.py").write_text(source)
    assert cli.main(["train.py", "--config=my.py"]) == 2
    assert f"train.py: {message}" in capsys.readouterr().err


@pytest.mark.xdist_group("devices")
def test_a_batch_that_the_devices_do_not_divide_is_refused(command, tmp_path):
    _, err = finish(command("--config.data.batch_size=12", devices=8), status=2)
    assert err == ("train.py: config.data.batch_size must be a multiple of the 8 devices, got 12\n")
    assert not os.listdir(tmp_path)


def test_a_run_without_a_checkpoint_is_not_resumed(config, capsys):
    directory = pathlib.Path(run_directory.create(config))
    for _ in range(2):  # without, and with an empty directory of checkpoints
        assert cli.main(["train.py", f"--resume={directory}"]) == 2
        assert "no checkpoint to resume from" in capsys.readouterr().err
        (directory / "checkpoints").mkdir(exist_ok=True)
    assert sorted(os.listdir(directory)) == [
        *(".lock", "checkpoints", "config.json", "environment.json"),
    ]


def test_a_platform_without_devices_is_one_line(monkeypatch, capsys):
    def none():
        raise AssertionError

    monkeypatch.setattr(jax, "devices", none)
    assert cli.main(["train.py"]) == 2
    assert "JAX_PLATFORMS=cpu: jax finds no such device; unset it" in capsys.readouterr().err


def test_a_reader_that_goes_away_is_no_error():
    code = "import sys; from lnm_jax import cli; sys.exit(cli.main(['train.py', '--help']))"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=pathlib.Path(cli.__file__).parent.parent,
    )
    process.stdout.close()
    assert process.wait(60) == 0, process.stderr.read()
    assert not process.stderr.read()
    process.stderr.close()


def test_help_shows_the_commands(capsys):
    assert cli.main(["train.py", "--help"]) == 0
    assert "--resume=runs/<name>" in capsys.readouterr().out


def test_the_process_restarts_itself_once_for_huge_pages(tmp_path):
    code = (
        "import os, sys; from lnm_jax import launch; "
        "launch.use_huge_pages(); print(os.getpid(), launch.allocator(), 'jax' in sys.modules)"
    )
    env = {key: value for key, value in os.environ.items() if key != "GLIBC_TUNABLES"}
    runs = {}
    for switch in ("1", "0"):
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            env=env | {"LNM_HUGE_PAGES": switch},
            stdout=subprocess.PIPE,
            text=True,
            cwd=pathlib.Path(cli.__file__).parent.parent,
        )
        runs[switch] = (str(process.pid), process.communicate()[0])
    if platform.libc_ver()[0] == "glibc":
        pid, out = runs["1"]
        # The same process, started again before jax was imported.
        assert out.startswith(f"{pid} huge pages by GLIBC_TUNABLES (LNM_HUGE_PAGES=0 ")
        assert out.endswith(" False\n")
    assert "the system's default False" in runs["0"][1]
