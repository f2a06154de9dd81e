"""One benchmark and the list for a GPU run to their ends in their short forms."""

import json

import pytest

from benchmarks import __main__ as command
from benchmarks import gpu, passes
from reproduction import timing


def test_a_short_benchmark_prints_a_table_and_keeps_nothing(capsys, monkeypatch, tmp_path):
    """Each of them does in tests/long."""
    monkeypatch.setattr(command, "RESULTS", tmp_path)
    assert command.main(["neuron", "--short"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("| ---")
    assert len(lines) >= 3
    assert not list(tmp_path.iterdir())


def test_a_row_is_kept_as_soon_as_it_is_measured(monkeypatch, tmp_path):
    def run(short):
        yield {"x": 1.0}
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "RESULTS", tmp_path)
    monkeypatch.setattr("benchmarks.neuron.run", run)
    with pytest.raises(KeyboardInterrupt):
        command.main(["neuron"])
    row = json.loads((tmp_path / "neuron.jsonl").read_text())
    assert row["x"] == 1.0
    assert row["jax"]


def test_programs_are_timed_in_turn_and_a_repeated_one_counts_as_one(monkeypatch):
    calls = []
    programs = {"a": lambda: calls.append("a") or 2.0, "b": lambda: calls.append("b") or 3.0}
    times = timing.interleaved(programs, 3)
    assert calls == ["a", "a", "b", "b"] * 3
    assert times == {"a": (2.0, 0.0), "b": (3.0, 0.0)}  # as they measured themselves
    calls.clear()
    # A clock that each run of the program moves on by 2 seconds.
    monkeypatch.setattr(timing.time, "perf_counter", lambda: 2.0 * len(calls))
    times = timing.interleaved({"a": lambda: calls.append("a")}, 1, repeat=5)
    assert len(calls) == 1 + 5
    assert times["a"].median == 2.0


def test_the_exponent_of_a_power_is_found():
    assert timing.exponent([1, 2, 4, 8], [3 * n**1.5 for n in (1, 2, 4, 8)]) == pytest.approx(1.5)


def listed(results, minutes=5.0):
    """(rows, lines) of the list for a GPU in its short form."""
    said = []
    options = {"minutes": minutes, "directory": None, "results": results, "say": said.append}
    return list(gpu.run(True, where={"device": "here"}, **options)), said


def test_the_list_for_a_gpu_leaves_files_and_goes_on_where_it_stopped(tmp_path, monkeypatch):
    steps = [{"what": "copy", "ms": 1.0}]
    monkeypatch.setattr(gpu.gpu_steps, "run", lambda short, alone: steps)
    rows, _ = listed(tmp_path)
    assert [row["entry"] for row in rows] == ["fast-8-lif-0", "fast-8-lnm-0", "steps"]
    kept = json.loads((tmp_path / "gpu" / "fast-8-lnm-0.json").read_text())
    assert kept["device"] == "here"
    assert [epoch for epoch, *_ in kept["curve"]] == [1, 2, 4, 6, 8]
    assert kept["accuracy"] == kept["curve"][-1][1] > 0
    # Another machine that has these files but one.
    (tmp_path / "gpu" / "steps.json").unlink()
    again, said = listed(tmp_path)
    assert [row["entry"] for row in again] == ["steps"]
    assert "2 of 2 schedules are in" in said[0]


def test_the_list_for_a_gpu_has_every_entry_in_order_of_worth():
    assert [entry.name for entry in gpu.RUNS] == [
        *(f"fast-8-{kind}-{seed}" for seed in range(3) for kind in ("lif", "lnm")),
        *("fast-24-lif-0", "fast-24-lnm-0", "fast-60-lif-0", "fast-60-lnm-0"),
    ]


def test_the_list_begins_nothing_that_would_not_end_in_time(tmp_path):
    rows, said = listed(tmp_path, minutes=1e-4)
    assert not rows
    assert len(said) == 3
    assert all("not begun" in line for line in said)
    assert not (tmp_path / "gpu").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--data", "unused"], "gpu needs a GPU, found none"),
        (["--short", "--minutes", "0"], "--minutes must be positive, got 0\n"),
    ],
)
def test_the_list_is_refused_without_a_gpu_or_minutes(capsys, options, message):
    assert command.main(["gpu", *options]) != 0
    assert capsys.readouterr().err.startswith(f"benchmarks: {message}")


PROGRAM = """HloModule step

%fused (p0: bf16[2,8], p1: f32[8]) -> bf16[8] {
  %p0 = bf16[2,8]{1,0} parameter(0)
  %wide = f32[2,8]{1,0} convert(%p0)
  %first = f32[1,8]{1,0} slice(%wide), slice={[0:1], [0:8]}
  %row = f32[8]{0} bitcast(%first)
  %p1 = f32[8]{0} parameter(1)
  %sum = f32[8]{0} add(%row, %p1)
  ROOT %out = bf16[8]{0} convert(%sum)
}

ENTRY %main (a: bf16[2,8], b: f32[8]) -> bf16[8] {
  %a = bf16[2,8]{1,0} parameter(0)
  %b = f32[8]{0} parameter(1)
  %c = f32[8]{0} custom-call(%b), custom_call_target="__cudnn$convForward", metadata={op_name="x"}
  ROOT %f = bf16[8]{0} fusion(%a, %c), kind=kLoop, calls=%fused, metadata={op_name="transpose(x)"}
}
"""


def test_bytes_of_a_program_are_results_and_what_is_read_of_operands():
    found = passes.traffic(PROGRAM)
    # A result of 8 x 2 bytes, half of 16 x 2 bytes, all of 8 x 4; and 8 x 4 in and out.
    assert found == {"XLA backward": 16 + 16 + 32, "convolutions": 64}
