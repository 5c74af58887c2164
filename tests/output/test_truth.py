"""The ground truth that a run over toyland has by itself."""

import json

import numpy as np
import pytest

import wsss_seed as ws
from wsss_seed.output.finished import open_run
from wsss_seed.output.truth import own_truth, processed


@pytest.fixture
def run(tmp_path):
    """Two of the five hard images of another seed."""
    return ws.generate(
        "toyland", images=5, sample=2, seed=3, difficulty="hard", split="val", out=tmp_path / "run", device="cpu",
        progress=False,
    )  # fmt: skip


def test_it_is_drawn_as_the_images_were(run):
    source = open_run(run.path)
    truth = own_truth(source)
    assert sorted(processed(source)) == sorted(run.result.ids)
    for sample in run.dataset:
        if sample.id in run.result.ids:
            np.testing.assert_array_equal(truth.mask(sample), run.dataset.mask(sample))
    assert ws.open_run(run.path).evaluate().to_json() == run.evaluate().to_json()


@pytest.mark.parametrize("damage", [{"name": "voc"}, {"seed": "x"}, {"split": "trian"}, {"difficulty": None}])
def test_another_or_a_damaged_dataset_has_none(run, damage):
    path = run.path / "run.json"
    about = json.loads(path.read_text("utf-8"))
    source = open_run(run.path)
    about["settings"]["dataset"] |= damage
    object.__setattr__(source, "about", about)
    assert own_truth(source) is None
