"""Dspike's search and masked PSN's masking on two devices are those on one, as `train.py` runs."""

import json

import numpy as np
import pytest

FIELDS = {
    "model.tdbn": 0.0,
    "optimizer.name": "sgd",
    "optimizer.nesterov": False,
    "optimizer.decay": "cosine",
    "neuron.kind": "masked_psn",
    "neuron.order": 1,
    "neuron.surrogate": "dspike",
    "adaptation.masking": 1.0,
    "adaptation.temperature": True,
    "adaptation.weights": 8,
    "adaptation.epsilon": 0.3,
    "epochs": 2,
}


def test_two_devices_search_and_mask_as_one(command, tmp_path):
    found = []
    for name, devices in (("one", None), ("two", 2)):
        flags = [f"--config.{field}={value}" for field, value in FIELDS.items()]
        process = command(f"--config.name={name}", *flags, devices=devices)
        _, err = process.communicate(timeout=240)
        assert process.returncode == 0, err
        lines = (tmp_path / "runs" / name / "metrics.jsonl").read_text().splitlines()
        found.append([r for r in map(json.loads, lines) if r["split"] == "test"])
    assert not (tmp_path / "runs" / "one" / "dynamics.png").exists()  # it has no f
    assert found[0][0]["temperature"] == pytest.approx(2.7)  # it moved
    for ours, theirs in zip(*found, strict=True):
        for name in ("temperature", "masking"):
            assert ours[name] == theirs[name]
        np.testing.assert_allclose(ours["loss"], theirs["loss"], rtol=1e-3)
