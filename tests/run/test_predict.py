"""Prediction by several processes."""

from __future__ import annotations

import pickle

from tests.cli.test_predict import write_checkpoint
from tests.run.killed_runs import contents
from wsss_seed.data import open_dataset
from wsss_seed.models.zoo import ModelSet
from wsss_seed.run.predict import PredictPlan, predict
from wsss_seed.segmenter.predict import PredictSettings


def test_processes_leave_what_one_leaves(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    checkpoint = write_checkpoint(tmp_path / "toyland.pt", "toyland")
    data = open_dataset("toyland", images=6)
    found = []
    for name, devices in (("one", ("cpu",)), ("two", ("cpu", "cpu"))):
        plan = PredictPlan(
            dataset=data,
            checkpoint=checkpoint,
            settings=PredictSettings(),
            models=ModelSet("tiny", "cpu"),
            out=tmp_path / name,
            devices=devices,
            limit=5,
        )
        result = predict(pickle.loads(pickle.dumps(plan)))
        assert (result.made, result.finalized, result.exit_status) == (5, True, 0)
        assert predict(plan).skipped == 5
        found.append(contents(tmp_path / name))
    assert {k: v for k, v in found[0].items() if k.startswith("Seg")} == {
        k: v for k, v in found[1].items() if k.startswith("Seg")
    }
    assert [line["id"] for line in found[0]["manifest.jsonl"]] == [line["id"] for line in found[1]["manifest.jsonl"]]
