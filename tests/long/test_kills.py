"""Kills the real `python train.py` in every phase of a run and compares what it ends with.

Runs of a small network on digits are killed (SIGKILL, the whole process group) up to three times
and started again until they end. A run is compared with one that was left alone: every leaf of
every checkpoint kept (parameters, optimizer, BatchNorm, step) bit for bit, metrics.jsonl,
config.json and the picture byte for byte. A phase is recognised by the run's files, which are
looked at thousands of times a second; how far into it the kill comes is drawn, from the phase's
length in the undisturbed run. Everything runs on the CPU, where the same program gives the same
bits, from a compilation cache of the campaign's own; kills during compilation have an empty one,
whose torn entries the next start meets. SIGKILL loses a process and not the page cache: a power
cut is not imitated. A run that lost something is kept, and its path printed. LNM_MINUTES is how
long new runs are begun, 8 if it is not set; LNM_SEED draws other kills.
"""

import collections
import itertools
import os
import pathlib
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

import run_files

MINUTES = float(os.environ.get("LNM_MINUTES", "8"))
SEED = int(os.environ.get("LNM_SEED", "0"))
STEPS = 30  # an epoch of 1437 images; its last one writes a line and is evaluated
RUN = "runs/run"
TRAIN = pathlib.Path(__file__).resolve().parents[2] / "train.py"
FIELDS = {
    "name": "run",
    "progress": "false",
    "timesteps": 2,
    "log_every": 2,
    "model.stem": 4,
    "model.widths": "4,",
    "model.blocks": "1,",
    "data.batch_size": 48,
}
# Kills of each phase, if there is time; `run_files.inside` says what the phases are.
PHASES = {
    "creation": 2,
    "import": 3,
    "compilation": 4,
    "step": 4,
    "evaluation": 4,
    "write": 5,
    "rename": 3,
    "deletion": 2,
    "end": 3,
}
MOMENTS = ("creation", "rename", "deletion")  # too short to wait in: killed at once
TRIES = 3  # of a kill that comes too late
LIMIT = 1800  # seconds until a process counts as hung


class Kill(NamedTuple):
    """A kill that is planned: where, how far into the run and into the phase (0 to 1)."""

    phase: str
    epoch: float
    moment: float
    tries: int = 0


class Outcome(NamedTuple):
    """What became of one process.

    Attributes:
      status: its exit status; -SIGKILL if it was killed.
      seconds: until it recorded a step or ended well, or None.
      inside: whether the files were still in the aimed phase after the kill.
      lengths: of each phase, seconds: the last time, when its programs are compiled.
    """

    status: int
    seconds: float | None
    inside: bool
    lengths: dict[str, float]


def _environment(cache: pathlib.Path, huge_pages: bool) -> dict[str, str]:
    """Without the parent's allocator setting, so that a process restarts itself only if asked."""
    env = {key: value for key, value in os.environ.items() if key != "GLIBC_TUNABLES"}
    return env | {
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "LNM_HUGE_PAGES": str(int(huge_pages)),
    }


def _drive(home, arguments, env, ends, kill=None, aim=0, delay=0.0) -> Outcome:
    """Runs one process in the directory `home` to its end, or until its kill."""
    watch = run_files.Watch(home / RUN)
    start = watch.look()
    due, seconds = None, None
    since, lengths = {}, {}
    with open(home / "log.txt", "a") as log:
        clock, looked = 0.0, time.monotonic()
        process = subprocess.Popen(
            [sys.executable, str(TRAIN), *arguments],
            cwd=home, env=env, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        try:
            while process.poll() is None:
                now, before, looked = watch.look(), looked, time.monotonic()
                clock += min(looked - before, 0.1)  # more is a pause of this whole machine
                if seconds is None and run_files.recorded(now, start):
                    seconds = clock
                for phase in () if kill else PHASES.keys() - MOMENTS:
                    if not run_files.inside(phase, now, start, ends, aim):
                        since.pop(phase, None)
                    else:
                        lengths[phase] = clock - since.setdefault(phase, clock)
                if kill and due is None and run_files.inside(kill.phase, now, start, ends, aim):
                    due = clock + delay
                if due is not None and clock >= due:
                    break
                if clock > LIMIT:
                    raise RuntimeError(f"{home}: a process hangs for {LIMIT} s; see log.txt there")
                time.sleep(1e-4 if kill and kill.phase in MOMENTS else 2e-3)
        finally:
            if process.returncode is None:  # its group exists as long as it is not waited for
                os.killpg(process.pid, signal.SIGKILL)
            status = process.wait()
    if seconds is None and status == 0:
        seconds = clock
    inside = bool(kill) and run_files.inside(kill.phase, watch.look(), start, ends, aim)
    return Outcome(status, seconds, inside, lengths)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


class Campaign:
    """Kills runs and counts what became of them."""

    def __init__(self, home: pathlib.Path, epochs: int, rng: random.Random):
        """Runs the undisturbed run, from an empty compilation cache."""
        self._home, self._rng, self._runs = home, rng, 0
        self._fields = [f"--config.{k}={v}" for k, v in (FIELDS | {"epochs": epochs}).items()]
        self._ends = [STEPS * epoch for epoch in range(1, epochs + 1)]
        self._counts = {phase: collections.Counter() for phase in PHASES}
        self._seconds = {phase: [] for phase in PHASES}
        (home / "quiet").mkdir()
        env = _environment(home / "cache", huge_pages=False)
        outcome = _drive(home / "quiet", self._fields, env, self._ends)
        if outcome.status:
            raise RuntimeError(f"{home}/quiet: the undisturbed run failed; see log.txt there")
        self._lengths = outcome.lengths
        _say("seconds of phases: " + ", ".join(f"{k} {v:.2g}" for k, v in self._lengths.items()))

    def run(self, kills: list[Kill]) -> list[Kill]:
        """Kills one run so often and lets it end; returns the kills to try again in another."""
        self._runs += 1
        home = self._home / f"run_{self._runs}"
        home.mkdir()
        cache, done, waiting, lost, left = self._home / "cache", [], [], [], []
        for number, kill in enumerate([*kills, None]):
            written = run_files.Watch(home / RUN).look().written
            arguments = self._fields
            if written and self._rng.random() < 0.5:
                arguments = [f"--resume={RUN}"]
            aim, delay = self._moment(kill, max(written, default=0), len(kills) - number)
            if kill and kill.phase == "compilation":
                cache = home / "cache"
            env = _environment(cache, huge_pages=bool(kill) and kill.phase == "import")
            outcome = _drive(home, arguments, env, self._ends, kill, aim, delay)
            if outcome.seconds is not None and waiting:
                self._seconds[waiting[-1]].append(outcome.seconds)
                for phase in waiting:
                    self._counts[phase]["resumed"] += 1
                waiting = []
            if outcome.status != -signal.SIGKILL:
                break
            _say(f"{home.name}: {kill.phase} {aim} +{delay:.2f} s, inside: {outcome.inside}")
            done.append(kill.phase)
            waiting.append(kill.phase)
            self._counts[kill.phase].update(kills=1, inside=int(outcome.inside))
        again = kills[number:]
        if outcome.status:
            lost = [f"a start ended with status {outcome.status}; see log.txt"]
        else:
            lost, left = run_files.differences(home / RUN, self._home / "quiet" / RUN)
            if again:  # a kill that came too late
                self._counts[kill.phase]["late"] += 1
                earlier = Kill(kill.phase, kill.epoch / 2, kill.moment / 2, kill.tries + 1)
                again[:1] = [earlier] if earlier.tries < TRIES else []
        for phase in done:
            self._counts[phase].update(lost=int(bool(lost)), left=int(bool(left)))
        for line in lost + left:
            _say(f"{home}: {line}")
        if not lost + left:
            shutil.rmtree(home)
        return again

    def _moment(self, kill: Kill | None, restored: int, left: int) -> tuple[int, float]:
        """End of the epoch to kill in, and seconds into the phase; later kills get the rest."""
        if kill is None:
            return 0, 0.0
        ahead = [end for end in self._ends if end > restored] or self._ends[-1:]
        near = ahead[: max(1, len(ahead) // left)]
        length = 0.0 if kill.phase in MOMENTS else self._lengths[kill.phase]
        return near[int(kill.epoch * len(near))], kill.moment * length

    def rows(self) -> list[dict]:
        """A row for each phase that was aimed at, and one for all."""
        counts = {phase: count for phase, count in self._counts.items() if count}
        seconds = {phase: self._seconds[phase] for phase in counts}
        counts["all"] = sum(counts.values(), collections.Counter())
        seconds["all"] = list(itertools.chain(*seconds.values()))
        return [
            {
                "phase": phase,
                "kills": count["kills"],
                "in phase": count["inside"],
                "finished before": count["late"],
                "resumed": count["resumed"],
                "lost": count["lost"],
                "left over": count["left"],
                "seconds to resume": statistics.median(seconds[phase] or [float("nan")]),
            }
            for phase, count in counts.items()
        ]


def _plan(phases: list[str], rng: random.Random) -> list[list[Kill]]:
    """Runs of one, two and three kills in turn; `creation` comes first in a run, `end` last."""
    kills = [Kill(phase, rng.random(), rng.random()) for phase in phases]
    runs = []
    while kills:
        length = 1 + len(runs) % 3
        order = {"creation": 0, "end": 2}
        runs.append(sorted(kills[:length], key=lambda kill: order.get(kill.phase, 1)))
        kills = kills[length:]
    return runs


def test_a_killed_run_ends_with_the_bits_of_an_undisturbed_one(keep):
    rng = random.Random(SEED)
    phases = [phase for phase, count in PHASES.items() for _ in range(count)]
    rng.shuffle(phases)
    plan = _plan(phases, rng)
    home = pathlib.Path(tempfile.mkdtemp(prefix="kills_"))
    _say(f"{home}, seed {SEED}")
    started = time.monotonic()
    campaign = Campaign(home, 8, rng)
    while plan and time.monotonic() - started < 60 * MINUTES:
        if again := campaign.run(plan.pop(0)):
            plan.append(again)
    rows = campaign.rows()
    keep("kills", rows)
    assert rows[-1]["lost"] == rows[-1]["left over"] == 0
    shutil.rmtree(home)
