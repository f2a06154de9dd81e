"""The notebooks run from top to bottom, hold what came out, and show what they say."""

import json
import pathlib
import re
import sys

import matplotlib
import numpy as np
import pytest

NOTEBOOKS = sorted((pathlib.Path(__file__).resolve().parent.parent / "notebooks").glob("*.ipynb"))


def cells(path):
    return json.loads(path.read_text())["cells"]


def drawn(namespace):
    figures = [x for x in namespace.values() if isinstance(x, matplotlib.figure.Figure)]
    return sum(len(axis.lines) + len(axis.patches) for f in figures for axis in f.axes)


def draw(names):
    assert set(names["kinds"]) == {"LIF", "QIF", "EIF", "LNM"}
    counts = {name: float(x.sum()) for name, x in names["spikes"].items()}
    assert counts["LIF"] < counts["EIF"] < counts["QIF"]
    # The rheobase is the depth of f's lowest point between rest and threshold.
    onset = {k: float(names["inputs"][np.argmax(f > 0)]) for k, f in names["curves"].items()}
    assert onset["LIF line"] == pytest.approx(0.15, abs=0.011)
    assert onset["bent up"] == pytest.approx(0.033, abs=0.011)


def identify(names):
    assert names["error"](np.array([-0.3, 1.2]), "QIF") < 1e-3
    assert names["error"](np.array([-0.3, 0.0]), "QIF") > 0.3
    found = {key: names["error"](theta, key[0]) for key, theta in names["fitted"].items()}
    for name in ("QIF", "EIF"):
        assert found[name, 5] < 0.6 < found[name, 1]  # few steps; a whole run gets to 0.1
    assert len(names["by_trials"]) == len(names["trials"])


def train(names):
    for kind in ("lif", "lnm"):
        accuracy = [r["accuracy"] for r in names["runs"][kind].records if r["split"] == "test"]
        assert accuracy[-1] > 40  # chance is 10
        assert len(names["event_accuracy"][kind]) == 1
    learned = names["dynamics"].learned_drifts(names["runs"]["lnm"], names["u"])
    assert any(np.abs(f - names["lines"][path])[30:90].max() > 1e-3 for path, f in learned.items())


def your_own(names):
    counts = names["counts"]
    assert (np.diff(counts["LIF"]) <= 0).all()  # the closer the pulses, the better
    assert (np.diff(counts["resonator"]) > 0).any()  # but a resonator's rhythm comes back
    away = np.abs(np.asarray(names["frequencies"]) - 0.7)
    assert away[-1] < away[0]
    assert np.isfinite(names["accuracy"])


CLAIMS = {"1": draw, "2": identify, "3": train, "4": your_own}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_notebook_runs_and_shows_what_it_says(path, monkeypatch, tmp_path):
    """The first in the repository, as Jupyter starts it there; the others in a folder elsewhere."""
    monkeypatch.setenv("LNM_QUICK", "1")
    root, there = str(path.parent.parent), path == NOTEBOOKS[0]
    monkeypatch.chdir(path.parent if there else tmp_path)
    elsewhere = [entry for entry in sys.path if entry not in ("", root)]
    monkeypatch.setattr(sys, "path", elsewhere if there else [root, *elsewhere])  # installed
    matplotlib.use("Agg")
    namespace = {"__name__": "notebook"}
    try:
        for number, cell in enumerate(cells(path)):
            if cell["cell_type"] == "code":
                source = "".join(cell["source"])
                exec(compile(source, f"{path.name}, cell {number}", "exec"), namespace)
        assert sys.path.count(root) == 1
        assert drawn(namespace) > 0
        CLAIMS[path.name[0]](namespace)
    finally:
        from matplotlib import pyplot

        pyplot.close("all")
        matplotlib.rcdefaults()


def test_there_are_four_notebooks_with_the_outputs_of_one_run():
    assert [path.name[0] for path in NOTEBOOKS] == list(CLAIMS)
    for path in NOTEBOOKS:
        assert cells(path)[0]["cell_type"] == "markdown"
        code = [cell for cell in cells(path) if cell["cell_type"] == "code"]
        assert [cell["execution_count"] for cell in code] == [*range(1, len(code) + 1)]
        outputs = [output for cell in code for output in cell["outputs"]]
        assert any("image/png" in output.get("data", {}) for output in outputs)
        assert all(output.get("name") != "stderr" for output in outputs)
        assert not re.search(r"/(tmp|home|root|Users)/", path.read_text())
        assert path.stat().st_size < 300_000


def test_your_own_neuron_is_15_lines_and_that_of_the_page():
    source = next(
        "".join(cell["source"])
        for cell in cells(NOTEBOOKS[-1])
        if "def resonate" in "".join(cell["source"])
    )
    assert len([line for line in source.splitlines() if line.strip()]) <= 15
    page = (NOTEBOOKS[0].parent.parent / "docs" / "neurons.md").read_text()
    page = re.sub(r' {4}""".*?"""\n\n', "", page[page.index("def resonate") :])  # its docstring
    assert page.startswith(source + "\n\n\nneuron = ")
