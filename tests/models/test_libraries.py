"""What is known of models that libraries download."""

import open_clip
import transformers

from wsss_seed.data import DATASETS
from wsss_seed.models import hf_detector, hf_masks, sam3
from wsss_seed.models.clip import _names
from wsss_seed.models.libraries import library_models
from wsss_seed.models.zoo import HUB, ModelSet, model_sets


def test_open_clip_and_transformers_have_every_model_of_the_sets():
    for name, spec in model_sets().items():
        for role, model, _ in spec.models():
            if model.startswith(HUB):
                kind = library_models()[model].config["model_type"]
                known = {"sam": (*hf_masks.KINDS, *sam3.KINDS), "detector": hf_detector.KINDS}[role]
                assert kind in known, name
                assert kind in transformers.CONFIG_MAPPING, name
            elif role == "clip" and ":" in model and "openai" not in model:
                assert _names(model) == tuple(model.split(":"))
                assert open_clip.get_pretrained_cfg(*model.split(":"))["hf_hub"]


def test_facts_are_complete():
    for model in library_models().values():
        assert "unknown" not in (model.licence, model.data)
        assert set(model.seen) <= set(DATASETS)


def test_a_detector_that_was_trained_on_coco_is_reported():
    """As soon as it is loaded, under the name by which it is known."""
    name = "hf:IDEA-Research/grounding-dino-base"
    assert library_models()[name].seen == ("coco", "voc")
    models = ModelSet("tiny", "cpu", detector=name)
    assert models.seen("coco") == []
    models.__dict__["detector"] = object()  # loaded
    assert [m.name for m in models.seen("coco")] == [name]
    assert models.seen("toyland") == []
