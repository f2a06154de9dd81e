"""Numbers of README and the pages are those of the files that were measured, and of each other.

`tests/long/test_claims.py` trains what they say again; `.ci/run` two epochs of it.
"""

import csv
import json
import pathlib
import re
import statistics

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
README, RESULTS, LEARNING = (
    (ROOT / name).read_text() for name in ("README.md", "docs/results.md", "docs/learning.md")
)
NUMBER = r"[+-]?\d+(?:\.\d+)?"
# A difference to LIF at its best decay of which no CSV has the error, and the GPU's runs that were
# cut off.
NO_CSV = {"+0.28 ± 0.32", "+1.6 ± 1.7"}


def with_errors(text):
    return set(re.findall(rf"{NUMBER} ± {NUMBER}", " ".join(text.split())))


def same(said, measured):
    """Whether "a ± b" is that of the measured ones, at the digits it has."""
    return any(
        all(
            abs(float(x) - float(y)) <= 0.501 * 10.0 ** -len(x.partition(".")[2])
            for x, y in zip(said.split(" ± "), one.split(" ± "), strict=True)
        )
        for one in measured
    )


def by_seed(name, method):
    """Accuracies of a row by seed."""
    path = ROOT / "docs" / "results" / f"{name}.csv"
    for row in csv.DictReader(path.read_text(encoding="utf-8").splitlines()):
        if row["method"] == method:
            pairs = (pair.split(": ") for pair in row["by seed, %"].split(", "))
            return {int(seed): float(value) for seed, value in pairs}
    raise AssertionError(f"{name} has no {method}")


def test_the_pages_have_the_numbers_of_the_csvs_and_readme_those_of_the_pages():
    measured = set()
    for path in (ROOT / "docs" / "results").glob("*.csv"):
        measured |= with_errors(path.read_text(encoding="utf-8"))
    lnm = by_seed("interval-small-lnm", "LNM, degree 3")
    lif = by_seed("interval-small-best-lif", "LIF")
    gains = [lnm[seed] - lif[seed] for seed in lif]
    error = statistics.stdev(gains) / len(gains) ** 0.5
    measured.add(f"{statistics.mean(gains):+} ± {error}")
    pages = with_errors(RESULTS) | with_errors(LEARNING)
    assert {said for said in pages if not same(said, measured)} == NO_CSV
    assert len(gains) == 10
    assert len(with_errors(README)) == 15
    assert not [said for said in with_errors(README) if not same(said, pages)]


def test_digits_are_the_same_in_readme_and_learning():
    (_, *digits), (_, *cifar) = (
        re.search(rf"^\| {start}.*", README, re.MULTILINE)[0].strip("| ").split("|")
        for start in ("digits; by SGD", "CIFAR-10; the paper")
    )
    rows = re.findall(r"^\| ([1248])" + r" \| ([\d.-]+)" * 4 + r" \|$", LEARNING, re.MULTILINE)
    assert [row[0] for row in rows] == list("1248")
    assert [cell.strip() for cell in digits] == [f"{row[1]}; {row[2]}" for row in rows]
    assert [cell.strip() for cell in cifar[:2]] == [f"{row[3]}; {row[4]}" for row in rows[:2]]
    by_seed = re.search(r"first: ([\d.,\s]+) % for seeds 0, 1, 2", README)[1]
    assert f"{statistics.mean(map(float, by_seed.split(','))):.1f}" == rows[-1][1]


def test_the_gpus_speed_is_the_benchmarks():
    found = {}
    for line in (ROOT / "benchmarks" / "results" / "gpu_steps.jsonl").read_text().splitlines():
        row = json.loads(line)
        found[row["what"], row["T"]] = row["rate"]
    text = " ".join(README.split())
    said = re.search(
        r"LNM ([\d,]+) at T = 2 and ([\d,]+) at T = 4, LIF ([\d,]+) and ([\d,]+) \(", text
    )
    kinds = [("lnm", 2), ("lnm", 4), ("lif", 2), ("lif", 4)]
    for words, (kind, timesteps) in zip(said.groups(), kinds, strict=True):
        rate = found[f"ResNet-19 step, {kind}", timesteps]
        assert float(words.replace(",", "")) == pytest.approx(rate, rel=3e-3)
