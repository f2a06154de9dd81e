"""Every fault on every file of a checkpoint: what is restored, and whether training can go on.

Two checkpoints are written, the newer one is damaged in one place, and it is restored as a resumed
run does; see `checkpoints.outcome`.
"""

import logging
import shutil

import pytest
from checkpoints import FAULTS, files_of, fill, make_state, outcome

WIDTH = 4000  # arrays of 48 kB: they have files of their own
OFFSETS = 100


@pytest.mark.parametrize("fault", FAULTS)
def test_no_fault_of_a_file_is_restored_as_if_it_were_sound(fault, tmp_path, keep):
    logging.getLogger().setLevel(logging.ERROR)  # the lines about damage are expected
    whole, trial = tmp_path / "whole", tmp_path / "trial"
    fill(whole, 1, 2, width=WIDTH)
    old, new = make_state(1, WIDTH), make_state(2, WIDTH)
    counts, files = {"fell back": 0, "harmless": 0, "lost": 0}, files_of(whole / "2")
    for file in files:
        for content in FAULTS[fault]((whole / "2" / file).read_bytes(), OFFSETS):
            shutil.copytree(whole, trial)
            (trial / "2" / file).unlink()
            if content is not None:
                (trial / "2" / file).write_bytes(content)
            counts[outcome(trial, old, new)] += 1
            shutil.rmtree(trial)
    keep("damage", [{"fault": fault, "files": len(files), "tries": sum(counts.values()), **counts}])
    assert counts["lost"] == 0
    assert counts["fell back"] >= 3
