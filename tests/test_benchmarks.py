"""Every benchmark runs to its end in its short form."""

import json

import pytest

from benchmarks import __main__ as command
from benchmarks import gpu, operations, page, timing


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


def test_a_repeated_program_counts_as_one(monkeypatch):
    calls = []
    # A clock that each run of the program moves on by 2 seconds.
    monkeypatch.setattr(timing.time, "perf_counter", lambda: 2.0 * len(calls))
    times = timing.interleaved({"a": lambda: calls.append("a")}, 1, repeat=5)
    assert len(calls) == 1 + 5
    assert times["a"].median == 2.0


def test_a_trace_is_read_by_the_kernels_of_a_gpu_else_by_operations():
    def event(pid, tid, name, **args):
        return {"ph": "X", "pid": pid, "tid": tid, "name": name, "dur": 3.0, "args": args}

    gpu = [
        {"name": "process_name", "pid": 1, "args": {"name": "/device:GPU:0"}},
        {"name": "process_name", "pid": 2, "args": {"name": "/host:CPU"}},
        {"name": "thread_name", "pid": 1, "tid": 7, "args": {"name": "Stream #14(Compute)"}},
        {"name": "thread_name", "pid": 1, "tid": 8, "args": {"name": "XLA Modules"}},
        event(1, 7, "loop_add_fusion_6", hlo_op="command_buffer"),
        event(1, 8, "jit_step"),
        event(2, 9, "python"),
    ]
    assert operations.executions(gpu) == [("loop_add_fusion_6", pytest.approx(3e-6))]
    cpu = [gpu[1], event(2, 9, "dot.4", hlo_op="dot.4"), event(2, 9, "python")]
    assert operations.executions(cpu) == [("dot.4", pytest.approx(3e-6))]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("sm90_xmma_dgrad_implicit_gemm_bf16", "convolutions"),
        ("convert_bitcast_fusion.8", "elementwise"),
        ("_backward_kernel", "neurons, one kernel a pass"),
        ("input_reduce_fusion_31", "sums"),
        ("dot_general.48", "matrix products"),
        ("while.3", "while"),
    ],
)
def test_operations_are_sorted_by_their_names(name, kind):
    assert operations.kind(name) == kind


def test_the_exponent_of_a_power_is_found():
    assert timing.exponent([1, 2, 4, 8], [3 * n**1.5 for n in (1, 2, 4, 8)]) == pytest.approx(1.5)


def test_an_unknown_benchmark_is_refused(capsys):
    with pytest.raises(SystemExit, match="2"):
        command.main(["speed"])
    assert "invalid choice: 'speed'" in capsys.readouterr().err


def listed(results, minutes=5.0):
    """(rows, lines) of the list for a GPU in its short form."""
    said = []
    rows = list(
        gpu.run(
            True, minutes=minutes, directory=None, results=results, where={"device": "here"},
            say=said.append,
        )
    )  # fmt: skip
    return rows, said


def test_the_list_for_a_gpu_leaves_files_and_goes_on_where_it_stopped(tmp_path, monkeypatch):
    steps = [{"what": "copy", "ms": 1.0}]
    monkeypatch.setattr(gpu.gpu_steps, "steps_alone", lambda short: steps)
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


def test_the_list_begins_nothing_that_would_not_end_in_time(tmp_path):
    rows, said = listed(tmp_path, minutes=1e-4)
    assert not rows
    assert len(said) == 3
    assert all("not begun" in line for line in said)
    assert not (tmp_path / "gpu").exists()


def test_the_list_is_refused_without_a_gpu(capsys):
    assert command.main(["gpu", "--data", "unused"]) != 0
    assert capsys.readouterr().err.startswith("benchmarks: gpu needs a GPU, found none")


def test_minutes_of_the_list_must_be_positive(capsys):
    assert command.main(["gpu", "--short", "--minutes", "0"]) != 0
    assert capsys.readouterr().err == "benchmarks: --minutes must be positive, got 0\n"
