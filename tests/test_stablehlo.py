"""StableHLO: the file runs in a process that has jax and none of this project."""

import json
import os
import pathlib
import subprocess
import sys

import exporting
import jax
import numpy as np
import pytest

from lnm_jax import cli, files
from lnm_jax.errors import ConfigError
from lnm_jax.export import network, stablehlo

pytest.importorskip("flatbuffers")

ALONE = """
import sys
import jax, jax.export, numpy as np
with open("network.stablehlo", "rb") as file:
    run = jax.export.deserialize(file.read()).call
images = np.load("images.npy")
for count in (1, 3):
    np.save(f"logits_{count}.npy", run(images[:count]))
assert not {"lnm_jax", "flax"} & set(sys.modules)
"""


@pytest.mark.parametrize("events", [False, True], ids=["images", "events"])
def test_the_file_gives_the_models_logits_without_the_project(
    events, config, trained_run, tmp_path, capsys
):
    path = str(tmp_path / "network.stablehlo")
    run = trained_run
    if events:
        config.update_from_flattened_dict(exporting.EVENTS | {"model.widths": ((4,), (5,))})
        run = exporting.run_of(config, exporting.events())
        stablehlo.write(network.prepare(run), path)
    else:
        assert cli.export([run.directory, "--format", "stablehlo", "--output", path]) == 0
        assert f"written to {path}" in capsys.readouterr().out
        assert json.loads(pathlib.Path(f"{path}.json").read_text())["classes"] == list("0123456789")
    exported = network.prepare(run)
    images = np.asarray(run.experiment.dataset.test.images[:3], np.float32)
    np.save(tmp_path / "images.npy", images)
    subprocess.run([sys.executable, "-I", "-c", ALONE], cwd=tmp_path, check=True)
    wanted = jax.jit(exported.logits)(images)
    assert np.ptp(wanted) > 0.1
    for count in (1, 3):  # one program, any batch
        logits = np.load(tmp_path / f"logits_{count}.npy")
        np.testing.assert_allclose(logits, wanted[:count], rtol=1e-5, atol=1e-6)


def test_a_failed_write_leaves_the_old_file_alone(tmp_path):
    path = tmp_path / "network.stablehlo"
    path.write_bytes(b"old")

    def fill_the_disk():
        with files.replacing(str(path)) as new, open(new, "wb") as file:
            file.write(b"ne")
            raise OSError(28, "No space left on device")

    with pytest.raises(ConfigError, match="No space left"):
        fill_the_disk()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["network.stablehlo"]
    with pytest.raises(ConfigError, match="cannot be written"), files.replacing(f"{path}/x"):
        pass
