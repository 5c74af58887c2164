"""What a run is to do, from what is given and what is not."""

import pickle
from pathlib import Path

import pytest

from wsss_seed.data import open_dataset
from wsss_seed.data.classes import load_class_set
from wsss_seed.errors import RunFolderError, UsageError
from wsss_seed.models import cpu_precision, zoo
from wsss_seed.models.checkpoints import find_checkpoint
from wsss_seed.models.clip import load_clip
from wsss_seed.models.zoo import BUNDLED
from wsss_seed.output.run_folder import read_run
from wsss_seed.run.plan import (
    choose_backend,
    choose_models,
    execute,
    plan_run,
    prompts_warning,
    split_devices,
    world_warning,
)
from wsss_seed.seeding.clip_sams.prompts import SamRecord, prompt_names, random_contexts, save_contexts
from wsss_seed.seeding.clip_sams.prompts_source import learned_sam


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
    fma = choose_models(None, "voc", options={"preset": "fma-voc"})
    assert fma.names["sam"] == "vit_h"
    assert choose_models("base", "voc", options={"preset": "fma-voc"}).names["sam"] == "vit_b"
    own = choose_models(None, "voc", options={"preset": "fma-voc"}, chosen={"sam": "vit_l", "clip": None})
    assert own.names["sam"] == "vit_l"
    with pytest.raises(UsageError, match="unknown model role 'sems'"):
        choose_models(None, "voc", chosen={"sems": "x"})


def test_the_backend_follows_its_options():
    def chosen(**options):
        return choose_backend(None, "tiny", "toyland", "cpu", "auto", chosen=None, options=options)[0]

    assert chosen() == chosen(preset="plain") == "dino-sam"
    assert chosen(preset="toyland") == chosen(prompts="handwritten") == "clip-sams"
    assert chosen(preset="plain", stage="fine") == "clip-sams"


def test_a_model_set_chooses_its_backend(toyland):
    plan = plan_run(toyland, models="sam3")
    assert (plan.backend, plan.models.names["sam"]) == ("sam3", "hf:facebook/sam3")
    assert "detector" not in plan.models.names
    other = plan_run(toyland, models="sam3", options={"prompts": "handwritten"})
    assert (other.backend, other.models.names["clip"]) == ("clip-sams", "ViT-B-16-quickgelu:openai")
    with pytest.raises(UsageError, match=r"the model set sam3 has no detector; give `detector` one"):
        _ = plan_run(toyland, models="sam3", backend="dino-sam").models.detector
    own = plan_run(toyland, models="sam3", backend="dino-sam", chosen={"detector": "tiny"})
    assert own.models.detector.name.endswith("tiny")


def test_models_of_another_world_are_warned_of():
    assert "trained on toyland" in world_warning(choose_models("tiny", "voc"), "voc")
    assert world_warning(choose_models("tiny", "toyland"), "toyland") is None
    assert world_warning(choose_models("base", "voc"), "voc") is None


def test_the_sam_of_the_prompts_is_followed_unless_another_is_chosen(tmp_path):
    """Prompts learned from seeds, beside prompts learned from image-level labels, which depend on no SAM."""
    clip = load_clip(str(BUNDLED["tiny-regions"]))
    contexts = random_contexts(clip, prompt_names(load_class_set("voc")), length=2)
    vit_h = SamRecord("vit_h", find_checkpoint("sam", "vit_h").files[0].sha256)
    for task, sam in (("seg", vit_h), ("cls", None)):
        save_contexts(
            tmp_path / f"{task}.safetensors", contexts, clip=clip, class_set=load_class_set("voc"), sam=sam,
        )  # fmt: skip
    folder = {"prompts": str(tmp_path)}
    assert learned_sam(str(tmp_path), None) == vit_h
    assert choose_models(None, "voc", options=folder).names["sam"] == "vit_h"
    assert choose_models(None, "voc", options={**folder, "stage": "coarse"}).names["sam"] == "vit_b"
    assert choose_models(None, "voc", options={"prompts": "handwritten"}).names["sam"] == "vit_b"

    def warning(**kwargs) -> str | None:
        models = choose_models(class_set="voc", **{"name": None, "options": folder, **kwargs})
        return prompts_warning("clip-sams", models, folder)

    assert warning() is None
    assert warning(options={"preset": "fma-voc"}) is None
    for other in ({"name": "base"}, {"chosen": {"sam": "vit_b"}}):
        assert warning(**other).startswith("the prompts were learned from seeds of SAM 'vit_h', which is not 'vit_b'")
    assert prompts_warning("dino-sam", choose_models("base", "voc"), folder) is None


def test_batches(toyland):
    assert plan_run(toyland).batch is None
    assert plan_run(toyland, batch=4).batch == 4
    assert plan_run(toyland, backend="clip-sams").batch == plan_run(toyland, keep_evidence=True).batch == 1
    with pytest.raises(UsageError, match="`batch` 0: expected at least 1, or auto"):
        plan_run(toyland, batch=0)
    with pytest.raises(UsageError, match="`batch` 2: clip-sams processes one image at a time"):
        plan_run(toyland, backend="clip-sams", batch=2)
    with pytest.raises(UsageError, match="`batch` 2: `keep_evidence` records one image at a time"):
        plan_run(toyland, keep_evidence=True, batch=2)


def test_devices():
    assert split_devices("cuda:0, cuda:1") == ["cuda:0", "cuda:1"]
    with pytest.raises(UsageError, match="expected a device"):
        split_devices("cuda:0,")


def test_a_plan_travels_and_is_executed(toyland, tmp_path):
    plan = pickle.loads(pickle.dumps(plan_run(toyland, out=tmp_path / "run", device="cpu", limit=2)))
    result = execute(plan)
    assert (result.made, result.finalized) == (2, True)
    assert execute(plan, (1, 2)).skipped == 1


def test_a_run_is_resumed_in_its_precision(toyland, tmp_path, monkeypatch):
    """``auto`` on a CPU that is fast in bf16, then on one that is not, and what is given."""
    monkeypatch.setenv("WSSS_SEED_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(zoo, "_SMALL", 0)
    monkeypatch.setattr(cpu_precision, "speedup", lambda: 2.0)
    out = tmp_path / "run"

    def run(precision: str, flags: str, limit: int, **more):
        monkeypatch.setattr(cpu_precision, "cpu", lambda: flags)
        return execute(plan_run(toyland, out=out, device="cpu", precision=precision, limit=limit, **more))

    assert run("auto", "avx512_bf16", 1).made == 1
    assert read_run(out)["settings"]["precision"] == "sam-bf16"
    assert (run("auto", "avx2", 2).skipped, run("sam-bf16", "avx2", 3).skipped) == (1, 2)
    with pytest.raises(
        RunFolderError, match='precision "sam-bf16" -> "fp32"; give `precision` sam-bf16 to continue it'
    ):
        run("fp32", "avx2", 3)
    assert run("auto", "avx2", 1, overwrite=True).made == 1
    assert read_run(out)["settings"]["precision"] == "fp32"
    assert run("auto", "avx512_bf16", 2).skipped == 1
