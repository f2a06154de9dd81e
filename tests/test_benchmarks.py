"""Every benchmark runs to its end in its short form."""

import json

import pytest

from benchmarks import __main__ as command
from benchmarks import page, timing


@pytest.mark.parametrize("name", command.BENCHMARKS)
def test_a_short_benchmark_prints_a_table_and_keeps_nothing(name, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(command, "RESULTS", tmp_path)
    assert command.main([name, "--short"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("| ---")
    assert len(lines) >= 3
    assert not list(tmp_path.iterdir())


def test_the_page_shows_the_latest_run_and_keeps_what_is_around(tmp_path):
    rows = [{"date": "1", "x": 1.0}, {"date": "2", "x": 2.0}, {"date": "2", "x": 1 / 3}]
    (tmp_path / "neuron.jsonl").write_text("\n".join(map(json.dumps, rows)))
    text = "before\n<!-- benchmark neuron -->\nold\n<!-- end -->\nafter\n"
    new = page.written(text, tmp_path, ("date",), command.table)
    assert new.startswith("before\n<!-- benchmark neuron -->\n| x |\n| --- |\n| 2 |\n| 0.333 |\n")
    assert new.endswith("`python -m benchmarks neuron`: date 2\n<!-- end -->\nafter\n")
    assert page.written(new, tmp_path, ("date",), command.table) == new
    (tmp_path / "neuron.jsonl").unlink()
    assert "Not measured" in page.written(new, tmp_path, ("date",), command.table)


def test_programs_are_timed_in_turn():
    calls = []
    programs = {
        name: lambda name=name, value=value: calls.append(name) or value
        for name, value in (("a", 2.0), ("b", 3.0))
    }
    times = timing.interleaved(programs, 3)
    assert calls == ["a", "a", "b", "b"] * 3
    assert times == {"a": (2.0, 0.0), "b": (3.0, 0.0)}  # as they measured themselves


def test_the_exponent_of_a_power_is_found():
    assert timing.exponent([1, 2, 4, 8], [3 * n**1.5 for n in (1, 2, 4, 8)]) == pytest.approx(1.5)


def test_an_unknown_benchmark_is_refused(capsys):
    assert command.main(["speed"]) == 2
    assert "usage: python -m benchmarks {damage,data" in capsys.readouterr().err
