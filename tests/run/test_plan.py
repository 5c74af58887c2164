"""What a run is to do, from what is given and what is not."""

import pickle
from pathlib import Path

import pytest

from wsss_seed.data import open_dataset
from wsss_seed.errors import UsageError
from wsss_seed.run.plan import choose_models, execute, plan_run, split_devices, world_warning


@pytest.fixture(scope="module")
def toyland():
    return open_dataset("toyland", images=3)


def test_what_is_not_given_is_chosen(toyland):
    plan = plan_run(toyland)
    assert (plan.backend, plan.models.name, plan.out) == ("dino-sam", "tiny", Path("seeds/toyland-test"))
    assert plan_run(toyland, options={"prompts": "handwritten", "preset": None}).backend == "clip-sams"
    assert plan_run(toyland, options={"stage": None}).options == {}
    assert plan_run(toyland, backend="sam3", models="base").models.name == "base"


def test_models_of_a_preset_and_those_chosen():
    assert choose_models(None, "voc").name == "base"
    fma = choose_models(None, "voc", preset="fma-voc")
    assert fma.names["sam"] == "vit_h"
    assert choose_models("base", "voc", preset="fma-voc").names["sam"] == "vit_b"
    assert choose_models(None, "voc", preset="fma-voc", chosen={"sam": "vit_l", "clip": None}).names["sam"] == "vit_l"
    with pytest.raises(UsageError, match="unknown model role 'sems'"):
        choose_models(None, "voc", chosen={"sems": "x"})


def test_models_of_another_world_are_warned_of():
    assert "trained on toyland" in world_warning(choose_models("tiny", "voc"), "voc")
    assert world_warning(choose_models("tiny", "toyland"), "toyland") is None
    assert world_warning(choose_models("base", "voc"), "voc") is None


def test_devices():
    assert split_devices("cuda:0, cuda:1") == ["cuda:0", "cuda:1"]
    with pytest.raises(UsageError, match="expected a device"):
        split_devices("cuda:0,")


def test_a_plan_travels_and_is_executed(toyland, tmp_path):
    plan = pickle.loads(pickle.dumps(plan_run(toyland, out=tmp_path / "run", device="cpu", limit=2)))
    result = execute(plan)
    assert (result.made, result.finalized) == (2, True)
    assert execute(plan, (1, 2)).skipped == 1
