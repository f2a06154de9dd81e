"""The data of lnm_jax.paper is the paper's text (tests/paper_text.py), read independently."""

import ast
import pathlib
import re

import paper_text
import pytest

from lnm_jax import paper

CONFIGS = pathlib.Path(__file__).resolve().parent.parent / "configs"
ACCURACY = re.compile(r"x|(\d+\.\d+)%?(?: ± (\d+\.\d+)%?)?")


def cells(text):
    """Rows below a table's head, cut into cells."""
    return [[cell.strip() for cell in line.split("|")] for line in text.strip().splitlines()[1:]]


def prose(text):
    return " ".join(text.split())


def source(work):
    """(method, citation) of a cell of the column Work."""
    own = {"LIF (Our Implementation)": ("LIF", ""), "LNM (Ours)": ("LNM", "")}
    return own.get(work) or re.fullmatch(r"(.+?) (\w+ et al\. \(\d{4}[ab]?\))", work).groups()


def read_table_1():
    networks = {"CIFAR-10": "ResNet-19", "CIFAR-100": "ResNet-19", "ImageNet": "ResNet-34"}
    for work, approach, timesteps, *values in cells(paper_text.TABLE_1):
        columns = [list(ACCURACY.finditer(value)) for value in values]
        for line, steps in enumerate(timesteps.split()):
            of_line = zip(networks.items(), steps.split("/"), columns, strict=True)
            for (dataset, network), t, column in of_line:
                assert (t == "x") <= (column[line][0] == "x")
                if column[line][0] != "x":
                    yield dataset, *source(work), approach, network, int(t), *column[line].groups()


def read_table_2():
    for *_, work, approach, networks, timesteps, values in cells(paper_text.TABLE_2):
        found = zip(networks.split(), timesteps.split(), ACCURACY.finditer(values), strict=True)
        for network, t, value in found:
            spelt = network.replace("VGGsNN", "VGGSNN")  # as section 5.2 has it
            yield "CIFAR-10 DVS", *source(work), approach, spelt, int(t), *value.groups()


def as_read(found):
    value, deviation, unit, digits, *_ = found.published
    assert unit == "%"
    printed = [None if x is None else f"{x:.{digits}f}" for x in (value, deviation)]
    return *found[:6], *printed


def test_accuracies_are_the_papers():
    assert [as_read(found) for found in paper.TABLE_1] == list(read_table_1())
    assert [as_read(found) for found in paper.TABLE_2] == list(read_table_2())


def test_lookups_find_every_row_by_the_papers_and_by_a_configurations_names():
    rows = paper.TABLE_1 + paper.TABLE_2
    assert len(rows) == len({(*row[:2], *row[4:6]) for row in rows}) == 56
    plain = lambda name: name.replace("-", "").replace(" ", "").lower()
    for row in rows:
        names, t = (row.dataset, row.method, row.network), row.timesteps
        assert paper.row(*names, t) is row
        assert paper.accuracy(*names, t) is row.published
        dataset, method, network = map(plain, names)
        assert paper.row(dataset.replace("imagenet", "imagenet2012"), method, network, t) is row
    assert str(paper.accuracy("imagenet2012", "lnm", "resnet34", 4)) == "70.91 ± 0.03 %"
    assert str(paper.accuracy("imagenet2012", "lif", "resnet34", 4)) == "69.04 %"


@pytest.mark.parametrize(
    "setting",
    [
        ("digits", "LNM", "resnet_small", 4),
        ("cifar10", "LNM", "resnet19", 6),
        ("cifar10", "LNM", "resnet34", 4),
        ("imagenet2012", "LNM", "resnet34", 2),
        ("cifar10dvs", "plif", "resnet19", 10),
        ("cifar1", "LNM", "resnet19", 2),
    ],
)
def test_there_is_no_accuracy_of_what_is_not_published(setting):
    assert paper.accuracy(*setting) is None
    assert paper.row(*setting) is None


def test_rows_of_another_network_or_epoch_carry_a_footnote():
    for setting, word in {
        ("CIFAR-10", "PLIF", "ResNet-19", 8): "Not ResNet-19",
        ("CIFAR-100", "IM-Loss", "ResNet-19", 2): "VGG-16",
        ("CIFAR-10 DVS", "GLIF", "ResNet-19", 16): "7B-wideNet",
        ("CIFAR-10 DVS", "PSN", "VGGSNN", 10): "Best epoch",
        ("ImageNet", "TET", "ResNet-34", 6): "SEW-ResNet-34",
        ("ImageNet", "IMP + LTS", "ResNet-34", 4): "SEW-ResNet-34",
    }.items():
        assert word in paper.row(*setting).footnote, setting
    own = [row for row in paper.TABLE_1 + paper.TABLE_2 if row.method in ("LIF", "LNM")]
    assert len(own) == 14
    assert not any(row.footnote for row in own)
    assert "deviation" in paper.accuracy("ImageNet", "LIF", "ResNet-34", 4).note


def test_every_number_says_where_it_stands_and_has_the_digits_printed():
    scores = [row.published for row in (*paper.TABLE_1, *paper.TABLE_2, *paper.TABLE_5)]
    energies = [value for row in paper.TABLE_3 for value in (row.lif, row.lnm, row.overhead)]
    places = [value.where for value in scores + energies]
    assert len(set(places)) == len(places)
    for table, rows in enumerate((paper.TABLE_1, paper.TABLE_2), 1):
        for row in rows:
            assert row.published.where.startswith(f"Table {table}, row {row.method} (")
    said = [paper.MAC, paper.ACCUMULATE, paper.TRAINING_OVERHEAD, paper.INFERENCE_OVERHEAD]
    said += [*paper.ENERGY_OVERHEADS, *(margin.published for margin in paper.MARGINS)]
    assert all(re.match(r"Section \d", value.where) for value in said)
    for value in scores + energies + said:  # what is printed is all there is
        assert float(str(value).split()[0]) == value.value
    for found in (*paper.TABLE_4, *paper.FIGURE_2, paper.FIGURE_1):
        assert re.match(r"(Table|Figure|Section) \d", found.where), found


def test_gains_are_those_of_the_text_and_follow_from_the_tables():
    first, later = prose(paper_text.SECTION_1), prose(paper_text.SECTION_5_2)
    gains = [*re.search(r"by (.+?)%, (.+?)%, (.+?)%, and (.+?)%", first).groups()]
    for place, gain in ((r"\(2024b\) by (\S+)%", gains[3]), (r"by (\S+)%, achieving", gains[2])):
        assert re.search(place, later)[1] == gain
    gains += [re.search(place, later)[1] for place in (r"a (\S+)% higher", r"gain of (\S+)%")]
    assert [f"{margin.published.value:.2f}" for margin in paper.MARGINS] == gains
    for margin in paper.MARGINS:
        dataset, network, timesteps, over, over_timesteps, published = margin
        own = paper.accuracy(dataset, "LNM", network, timesteps)
        other = paper.accuracy(dataset, over, network, over_timesteps)
        assert own.value - other.value == pytest.approx(published.value, abs=1e-9), margin
        assert f"{own.value:.2f}%" in first + later


def test_energies_are_the_papers():
    for row, printed in zip(paper.TABLE_3, cells(paper_text.TABLE_3), strict=True):
        dataset, t, lif, lnm, overhead = printed
        assert (row.dataset, row.timesteps) == (dataset, int(t))
        assert (str(row.lif), str(row.lnm)) == (f"{lif} mJ", f"{lnm} mJ")
        assert str(row.overhead) == overhead.replace("%", " %")
        assert row.network == ("ResNet-34" if dataset == "ImageNet" else "ResNet-19")  # caption
        assert paper.energy(dataset, row.network, row.timesteps) is row
    assert paper.energy("cifar10", "resnet19", 4) is None


def test_overheads_of_table_3_follow_from_its_energies_and_the_text_has_their_range():
    low, high = (bound.value for bound in paper.ENERGY_OVERHEADS)
    for row in paper.TABLE_3:
        exact = 100 * (row.lnm.value / row.lif.value - 1)
        assert exact == pytest.approx(row.overhead.value, abs=0.00501), row
        assert low <= row.overhead.value <= high


def test_differences_of_table_3_do_not_follow_from_the_networks_neurons():
    """Two MACs a neuron and timestep more than LIF (5.4): no row has that."""
    resnet19 = lambda side: (
        7 * 128 * side**2 + 6 * 256 * (side // 2) ** 2 + 4 * 512 * (side // 4) ** 2 + 256
    )
    stages = (1, 64, 112), (6, 64, 56), (8, 128, 28), (12, 256, 14), (6, 512, 7)
    resnet34 = sum(layers * channels * side**2 for layers, channels, side in stages)
    neurons = (resnet19(32), resnet19(32), resnet19(48), resnet34)
    assert neurons == (1_442_048, 1_442_048, 3_244_288, 3_562_496)
    counted = []
    for row, number in zip(paper.TABLE_3, neurons, strict=True):
        one = 2 * 4.6e-9 * row.timesteps  # mJ a neuron
        fewest, most = row.neurons
        assert fewest * one == pytest.approx(row.difference - 0.001)
        assert most * one == pytest.approx(row.difference + 0.001)
        assert not fewest <= number <= most
        counted.append(round(number * one, 4))
    assert counted == [0.0265, 0.0265, 0.2985, 0.1311]
    assert [row.difference for row in paper.TABLE_3] == [0.023, 0.023, 0.257, 0.295]


def test_constants_of_5_4_are_the_papers():
    text = prose(paper_text.SECTION_5_4)
    mac, accumulate = re.search(r"E_MAC = (\S+)pJ and E_AC = (\S+)pJ", text).groups()
    assert (str(paper.MAC), str(paper.ACCUMULATE)) == (f"{mac} pJ", f"{accumulate} pJ")
    training, inference = re.search(r"approximately (\d+)%.*around (\d+)%", text).groups()
    assert str(paper.TRAINING_OVERHEAD) == f"{training} %"
    assert str(paper.INFERENCE_OVERHEAD) == f"{inference} %"
    low, high = re.search(r"between (\S+)-(\S+)%", text).groups()
    assert [str(bound) for bound in paper.ENERGY_OVERHEADS] == [f"{low} %", f"{high} %"]
    assert "LIF neuron requires a singular MAC" in text
    assert paper.LIF_MACS == 1


def test_recipes_are_table_4():
    fields = {cell[0]: cell[1:] for cell in cells(paper_text.TABLE_4)}
    head = paper_text.TABLE_4.strip().splitlines()[0]
    assert ["Dataset", *(found.dataset for found in paper.TABLE_4)] == head.split(" | ")
    for column, found in enumerate(paper.TABLE_4):
        cell = {name: values[column] for name, values in fields.items()}
        assert "/".join(found.networks) == cell.pop("Architecture")
        assert "/".join(map(str, found.timesteps)) == cell.pop("Timesteps")
        assert found.surrogate == cell.pop("Surrogate Gradient")
        assert str(list(found.window)) == cell.pop("Surrogate Gradient Window")
        assert found.optimizer == cell.pop("Optimizer")
        assert found.scheduler == cell.pop("Scheduler")
        assert {name: float(value) for name, value in cell.items()} == {
            "Epochs": found.epochs,
            "Learning Rate": found.learning_rate,
            "LNM Learning Rate": found.lnm_learning_rate,
            "Momentum": found.momentum,
            "Weight Decay": found.weight_decay,
            "Label Smoothing": found.label_smoothing,
            "Warm Up Epochs": found.warmup_epochs,
            "A100 80GB GPUs": found.gpus,
            "Initial Decay": found.decay,
            "Threshold": found.threshold,
        }
        assert paper.recipe(found.dataset) is found
    assert paper.recipe("digits") is None


def test_augmentations_are_those_of_the_appendix():
    text = prose(paper_text.APPENDIX_A_1)
    words = {"crop": "cropping", "flip": "flipping", "Cutout": "Cutout", "AutoAugment": "AutoAug"}
    for found in paper.TABLE_4:
        start = rf"[Ff]or {found.dataset} (?:\(|\w+ et al)"
        [said] = re.findall(rf"{start}.*?(?=$| For | Finally)", text)
        assert set(found.augmentations) == {name for name, word in words.items() if word in said}
        size = re.search(r"(\d+) x \1", said)
        assert found.image_size == (size and int(size[1]))
        assert found.normalised == (f"besides {found.dataset}, we normalize" not in text)


def test_bounding_is_table_5():
    rows = cells(paper_text.TABLE_5)
    for found, (dataset, name, network, t, value) in zip(paper.TABLE_5, rows, strict=True):
        limit = f" [-{found.clip:g}, {found.clip:g}]" if found.clip else ""
        assert name == {"tanh": "TanH", "clip": "Clip"}[found.bound] + limit
        assert str(found.published) == value.replace("%", " %")
        assert (dataset, network, t) == ("CIFAR-100", "ResNet-19", "4")
        assert paper.bounding(found.bound, found.clip or 1.0) is found.published
    assert paper.bounding("clip", 2.0) is paper.bounding("linear", 1.0) is None
    of_table_1 = paper.accuracy("CIFAR-100", "LNM", "ResNet-19", 4)
    assert paper.bounding("clip", paper.CLIP)[:2] == of_table_1[:2]


def test_the_degree_ablation_is_what_5_1_says():
    text, found = prose(paper_text.SECTION_5_1), paper.FIGURE_1
    order = {"second": 2, "third": 3}
    degree = lambda pattern: order[re.search(pattern, text)[1]]
    assert found.chosen == degree(r"select (\w+)-degree") == paper.DEGREE
    assert found.plateau_beyond == degree(r"beyond (\w+)-degree .* starts to plateau")
    assert found.least_stable == degree(r"while (\w+)-degree .* exhibit the largest variability")
    network, dataset, t = re.search(r"a (\S+) arch.* on (\S+) with (\w+) timesteps", text).groups()
    assert (found.network, found.dataset, found.timesteps, t) == (network, dataset, 4, "four")
    assert "three independent training runs" in text
    assert found.runs == paper.RUNS == 3


LAYERS = {
    "LIF": r"layers \(([\d, ]+)\) learned neuron models that resemble LIF",
    "QIF": r"Layers ([\d, and]+) all learned dynamics similar to Quadratic",
    "negative QIF": r"layers \(([\d, and]+)\) learned dynamics .{1,30} negative QIF",
    "negative ExLIF": r"layers \(([\d, ]+)\) interestingly learned negative Exponential",
    "sinusoidal": r"layer (\d+) learned sinusoidal",
    "cubic": r"layers ([\d, and]+) learned cubic",
    "logarithmic": r"Layers ([\d, and]+) demonstrate logarithmic",
}


def test_layers_of_figure_2_resemble_what_5_3_says_and_each_is_named_once():
    text = prose(paper_text.SECTION_5_3)
    layers = lambda pattern: tuple(map(int, re.findall(r"\d+", re.search(pattern, text)[1])))
    said = {name: layers(pattern) for name, pattern in LAYERS.items()}
    assert {found.name: found.layers for found in paper.FIGURE_2} == said
    assert sorted(sum(said.values(), ())) == list(range(1, 34))
    unknown = text.index("don't resemble any known")
    for found in paper.FIGURE_2:
        assert found.known == (re.search(LAYERS[found.name], text).start() < unknown)
        assert all(paper.resembles(layer) is found for layer in found.layers)
    assert paper.resembles(0) is paper.resembles(34) is None


def test_names_of_figure_2_are_families_of_the_analysis():
    from lnm_jax.analysis import naming

    assert {found.family for found in paper.FIGURE_2} == set(naming.FAMILIES) - {"EIF"}


def test_docstrings_of_configurations_quote_the_published_accuracies():
    quoted = 0
    for path in CONFIGS.glob("*.py"):
        text = ast.get_docstring(ast.parse(path.read_text())) or ""
        for value, deviation, t in re.findall(r"([\d.]+) \+- ([\d.]+) %(?: at T = (\d+))?", text):
            dataset, network = path.stem.split("_")
            timesteps = int(t or re.search(r"T = (\d+)", text)[1])
            published = paper.accuracy(dataset, "LNM", network, timesteps)
            assert f"{value} ± {deviation} %" == str(published), path
            quoted += 1
    assert quoted == 7
