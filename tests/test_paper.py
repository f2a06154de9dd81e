"""reproduction/published.py is the paper's text (tests/paper_text.py), read independently."""

import ast
import pathlib
import re

import paper_text
import pytest

from lnm_jax.analysis import energy, naming
from reproduction import cli, methods, published

CONFIGS = pathlib.Path(__file__).resolve().parent.parent / "lnm_jax" / "configs"
ACCURACY = re.compile(r"x|(\d+\.\d+)%?(?: ± (\d+\.\d+)%?)?")


def cells(text):
    """Rows below a table's head, cut into cells."""
    return [[cell.strip() for cell in line.split("|")] for line in text.strip().splitlines()[1:]]


def prose(text):
    return " ".join(text.split())


def number(text):
    return float(text.split()[0])


def method(work):
    """The method of a cell of the column Work."""
    own = {"LIF (Our Implementation)": "LIF", "LNM (Ours)": "LNM"}
    return own.get(work) or re.fullmatch(r"(.+?) \w+ et al\. \(\d{4}[ab]?\)", work)[1]


def percent(match):
    return " ± ".join(filter(None, match.groups())) + " %"


def read_table_1():
    networks = {"CIFAR-10": "ResNet-19", "CIFAR-100": "ResNet-19", "ImageNet": "ResNet-34"}
    for work, _, timesteps, *values in cells(paper_text.TABLE_1):
        columns = [list(ACCURACY.finditer(value)) for value in values]
        for line, steps in enumerate(timesteps.split()):
            of_line = zip(networks.items(), steps.split("/"), columns, strict=True)
            for (dataset, network), t, column in of_line:
                assert (t == "x") <= (column[line][0] == "x")
                if column[line][0] != "x":
                    yield dataset, method(work), network, int(t), percent(column[line])


def read_table_2():
    for *_, work, _, networks, timesteps, values in cells(paper_text.TABLE_2):
        found = zip(networks.split(), timesteps.split(), ACCURACY.finditer(values), strict=True)
        for network, t, value in found:
            spelt = network.replace("VGGsNN", "VGGSNN")  # as section 5.2 has it
            yield "CIFAR-10 DVS", method(work), spelt, int(t), percent(value)


def test_accuracies_are_the_papers_and_each_is_found():
    assert [row[:5] for row in published.TABLE_1] == list(read_table_1())
    assert [row[:5] for row in published.TABLE_2] == list(read_table_2())
    rows = published.TABLE_1 + published.TABLE_2
    assert len({row[:4] for row in rows}) == len(rows) == 56
    assert all(published.accuracy(*row[:4]) is row for row in rows)
    assert published.accuracy("CIFAR-10", "LNM", "ResNet-19", 6) is None
    assert published.accuracy("CIFAR-10", "LNM", "ResNet-34", 4) is None


def test_rows_of_another_network_or_epoch_carry_a_footnote():
    for setting, word in {
        ("CIFAR-10", "PLIF", "ResNet-19", 8): "Not ResNet-19",
        ("CIFAR-100", "IM-Loss", "ResNet-19", 2): "VGG-16",
        ("CIFAR-100", "LSG", "ResNet-19", 2): "76.22",
        ("CIFAR-10 DVS", "GLIF", "ResNet-19", 16): "7B-wideNet",
        ("CIFAR-10 DVS", "PSN", "VGGSNN", 10): "Best epoch",
        ("ImageNet", "TET", "ResNet-34", 6): "SEW-ResNet-34",
        ("ImageNet", "IMP + LTS", "ResNet-34", 4): "SEW-ResNet-34",
        ("ImageNet", "Ternary Spike", "ResNet-34", 4): "not binary",
    }.items():
        assert word in published.accuracy(*setting).footnote, setting
    assert sum(bool(row.footnote) for row in published.TABLE_1 + published.TABLE_2) == 19
    assert not any(row.footnote for row in published.TABLE_1 if row.method in ("LIF", "LNM"))


def test_energies_are_the_papers_and_the_overheads_follow_from_them():
    text = prose(paper_text.SECTION_5_4)
    low, high = map(float, re.search(r"between (\S+)-(\S+)%", text).groups())
    for row, printed in zip(published.TABLE_3, cells(paper_text.TABLE_3), strict=True):
        dataset, t, lif, lnm, overhead = printed
        network = "ResNet-34" if dataset == "ImageNet" else "ResNet-19"  # caption
        energies = f"{lif} mJ", f"{lnm} mJ", overhead.replace("%", " %")
        assert row == (dataset, network, int(t), *energies)
        assert published.energy(dataset, network, int(t)) is row
        exact = 100 * (number(lnm) / number(lif) - 1)
        assert exact == pytest.approx(number(row.overhead), abs=0.00501), row
        assert low <= number(row.overhead) <= high
    assert published.energy("CIFAR-10", "ResNet-19", 4) is None


def test_differences_of_table_3_do_not_follow_from_the_networks_neurons():
    """Two MACs a neuron and timestep more than LIF (5.4): no row has that, given its rounding."""
    resnet19 = lambda side: (
        7 * 128 * side**2 + 6 * 256 * (side // 2) ** 2 + 4 * 512 * (side // 4) ** 2 + 256
    )
    stages = (1, 64, 112), (6, 64, 56), (8, 128, 28), (12, 256, 14), (6, 512, 7)
    resnet34 = sum(layers * channels * side**2 for layers, channels, side in stages)
    neurons = (resnet19(32), resnet19(32), resnet19(48), resnet34)
    assert neurons == (1_442_048, 1_442_048, 3_244_288, 3_562_496)
    wanted = [
        2 * 4.6e-9 * row.timesteps * count
        for row, count in zip(published.TABLE_3, neurons, strict=True)
    ]
    found = [number(row.lnm) - number(row.lif) for row in published.TABLE_3]
    assert [round(value, 4) for value in wanted] == [0.0265, 0.0265, 0.2985, 0.1311]
    assert [round(value, 3) for value in found] == [0.023, 0.023, 0.257, 0.295]


def test_constants_of_5_4_are_the_papers():
    text = prose(paper_text.SECTION_5_4)
    mac, accumulate = re.search(r"E_MAC = (\S+)pJ and E_AC = (\S+)pJ", text).groups()
    assert (energy.Costs().mac, energy.Costs().ac) == (float(mac), float(accumulate))
    training, inference = re.search(r"approximately (\d+)%.*around (\d+)%", text).groups()
    assert f"{training} %" == published.TRAINING_OVERHEAD
    assert f"{inference} %" == published.INFERENCE_OVERHEAD


def test_bounding_is_table_5():
    found = {}
    for dataset, name, network, t, value in cells(paper_text.TABLE_5):
        assert (dataset, network, t) == ("CIFAR-100", "ResNet-19", "4")
        found[name] = value.replace("%", " %")
    assert found == published.TABLE_5
    assert [method.paper_name for method in methods.BOUNDS] == list(published.TABLE_5)
    of_table_1 = published.accuracy("CIFAR-100", "LNM", "ResNet-19", 4)
    assert published.TABLE_5["Clip [-1, 1]"] == of_table_1.percent


def test_the_degree_of_lnm_and_the_number_of_runs_are_those_of_5_1():
    text = prose(paper_text.SECTION_5_1)
    assert re.search(r"select (\w+)-degree", text)[1] == "third"
    assert methods.LNM.fields["neuron.degree"] == 3
    assert "three independent training runs" in text
    assert cli.parser().parse_args(["table1"]).seeds == 3


LAYERS = {
    "LIF": r"layers \(([\d, ]+)\) learned neuron models that resemble LIF",
    "QIF": r"Layers ([\d, and]+) all learned dynamics similar to Quadratic",
    "negative QIF": r"layers \(([\d, and]+)\) learned dynamics .{1,30} negative QIF",
    "negative ExLIF": r"layers \(([\d, ]+)\) interestingly learned negative Exponential",
    "sinusoidal": r"layer (\d+) learned sinusoidal",
    "cubic": r"layers ([\d, and]+) learned cubic",
    "logarithmic": r"Layers ([\d, and]+) demonstrate logarithmic",
}


def test_layers_of_figure_2_resemble_what_5_3_says_and_have_names_of_the_analysis():
    text = prose(paper_text.SECTION_5_3)
    layers = lambda pattern: map(int, re.findall(r"\d+", re.search(pattern, text)[1]))
    said = {layer: name for name, pattern in LAYERS.items() for layer in layers(pattern)}
    assert said == published.FIGURE_2
    assert sorted(said) == list(range(1, 34))
    families = {name.replace("ExLIF", "EIF") for name in said.values()}
    assert families == set(naming.FAMILIES) - {"EIF"}


def test_docstrings_of_configurations_quote_the_published_accuracies():
    spelt = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "cifar10dvs": "CIFAR-10 DVS",
             "imagenet": "ImageNet", "resnet19": "ResNet-19", "resnet34": "ResNet-34",
             "vggsnn": "VGGSNN"}  # fmt: skip
    quoted = 0
    for path in CONFIGS.glob("*.py"):
        text = ast.get_docstring(ast.parse(path.read_text())) or ""
        for value, deviation, t in re.findall(r"([\d.]+) \+- ([\d.]+) %(?: at T = (\d+))?", text):
            dataset, network = map(spelt.get, path.stem.split("_"))
            timesteps = int(t or re.search(r"T = (\d+)", text)[1])
            row = published.accuracy(dataset, "LNM", network, timesteps)
            assert row.percent == f"{value} ± {deviation} %", path
            quoted += 1
    assert quoted == 7
