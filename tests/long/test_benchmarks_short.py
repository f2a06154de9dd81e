"""Every benchmark runs to its end in its short form, and keeps nothing."""

import pytest

from benchmarks import __main__ as command


@pytest.mark.parametrize("name", sorted(set(command.BENCHMARKS) - {"gpu"}))
def test_a_short_benchmark_prints_a_table_and_keeps_nothing(name, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(command, "RESULTS", tmp_path)
    if name == "passes":
        pytest.importorskip("jax_plugins.xla_cuda12")
    assert command.main([name, "--short"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("| ---")
    assert len(lines) >= 3
    assert not list(tmp_path.iterdir())
