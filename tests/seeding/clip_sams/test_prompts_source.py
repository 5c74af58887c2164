"""Which prompts a run uses, from which file, and the recipe stage that goes with them."""

from dataclasses import replace

import pytest
import torch

from wsss_seed.data.classes import load_class_set
from wsss_seed.errors import CheckpointError, WsssError
from wsss_seed.models.zoo import ModelSet
from wsss_seed.seeding.clip_sams.prompts import SamRecord, prompt_names, random_contexts, save_contexts
from wsss_seed.seeding.clip_sams.prompts_source import choose_prompts, learned_sam, sam_warning

TOYLAND = load_class_set("toyland")


@pytest.fixture(scope="module")
def models() -> ModelSet:
    return ModelSet("tiny", "cpu", clip="tiny-regions")


@pytest.fixture
def learned(models, tmp_path):
    """Write a file of learned prompts, and return its path."""

    def write(name, task, sam=None, seed=0):
        contexts = random_contexts(
            models.clip, prompt_names(TOYLAND), length=2, generator=torch.Generator().manual_seed(seed)
        )
        path = tmp_path / "prompts" / name
        path.parent.mkdir(exist_ok=True)
        save_contexts(path, contexts, clip=models.clip, class_set=TOYLAND, settings={"task": task}, sam=sam)
        return path

    return write


@pytest.mark.parametrize(("source", "stage"), [("handwritten", None), ("handwritten", "fine"), (None, "handwritten")])
def test_handwritten_sentences_need_no_file(models, source, stage):
    chosen = choose_prompts(source, stage, models, TOYLAND)
    assert (chosen.stage, chosen.contexts, chosen.record) == (stage or "handwritten", None, "handwritten")


@pytest.mark.parametrize(("task", "stage"), [("cls", "coarse"), ("seg", "fine")])
def test_a_file_brings_its_own_stage_unless_another_is_given(models, learned, task, stage):
    path = str(learned("mine.safetensors", task))
    assert choose_prompts(path, None, models, TOYLAND).stage == stage
    assert choose_prompts(path, "handwritten", models, TOYLAND).stage == "handwritten"
    assert choose_prompts(path, None, models, TOYLAND).record.startswith(f"{task} ")


def test_a_folder_has_a_file_for_each_stage_and_the_finer_comes_first(models, learned):
    cls = learned("cls.safetensors", "cls", seed=1)
    folder = str(cls.parent)
    assert choose_prompts(folder, None, models, TOYLAND).stage == "coarse"
    with pytest.raises(CheckpointError, match=r"no seg\.safetensors in this folder; finish wsss-seed learn-prompts"):
        choose_prompts(folder, "fine", models, TOYLAND)
    learned("seg.safetensors", "seg", seed=2)
    found = {stage: choose_prompts(folder, stage, models, TOYLAND) for stage in (None, "coarse", "fine")}
    assert [c.stage for c in found.values()] == ["fine", "coarse", "fine"]
    assert found[None].record == found["fine"].record != found["coarse"].record


def test_the_record_goes_by_the_contexts_and_not_by_the_file(models, learned):
    first, again, other = (
        choose_prompts(str(learned(name, "seg", seed=seed)), None, models, TOYLAND).record
        for name, seed in (("a.safetensors", 0), ("b.safetensors", 0), ("c.safetensors", 1))
    )
    assert first == again != other


def test_bundled_prompts_are_those_of_the_clip_and_the_class_set(models):
    chosen = choose_prompts(None, None, models, TOYLAND)
    assert chosen.stage == "fine"
    assert chosen.contexts.names[: len(TOYLAND.names)] == TOYLAND.prompts
    assert choose_prompts(None, "coarse", models, TOYLAND).stage == "coarse"
    with pytest.raises(CheckpointError, match="no learned prompts for class set 'voc' and CLIP tiny-regions"):
        choose_prompts(None, None, models, load_class_set("voc"))


def test_what_is_not_there_or_does_not_fit_is_named(models, learned, tmp_path):
    with pytest.raises(CheckpointError, match=r"gone\.safetensors: no such file of prompts"):
        choose_prompts(str(tmp_path / "gone.safetensors"), None, models, TOYLAND)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"no seg\.safetensors or cls\.safetensors in this folder"):
        choose_prompts(str(tmp_path / "empty"), None, models, TOYLAND)
    with pytest.raises(WsssError, match=r"unknown value of stage 'corse'.*Did you mean 'coarse'"):
        choose_prompts(None, "corse", models, TOYLAND)
    others = replace(TOYLAND, names=TOYLAND.names[::-1])
    with pytest.raises(CheckpointError, match="prompts for the 12 classes of 'toyland'"):
        choose_prompts(str(learned("seg.safetensors", "seg")), None, models, others)


def test_prompts_from_the_seeds_of_another_sam_are_warned_of(models, learned):
    own = SamRecord("tiny", models.identity("sam"))
    other = SamRecord("vit_h", "0" * 64)
    for record, warned in ((own, False), (other, True), (None, False)):
        path = str(learned("seg.safetensors", "seg", sam=record))
        assert learned_sam(path, None) == record
        text = sam_warning(path, None, models)
        assert (text is not None) == warned
    for source in (None, "handwritten"):
        assert learned_sam(source, None) is sam_warning(source, None, models) is None
    path = str(learned("seg.safetensors", "seg", sam=other))
    assert "seeds of SAM 'vit_h', which is not 'tiny'" in sam_warning(path, None, models)
