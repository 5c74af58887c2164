"""Learned contexts and sentences, and the file they are kept in."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch.nn import functional as F

from tests.rounding import assert_same
from wsss_seed.data.classes import load_class_set
from wsss_seed.errors import WsssError
from wsss_seed.models.clip import Clip
from wsss_seed.seeding.clip_sams.prompts import (
    Contexts,
    SamRecord,
    frame_prompts,
    handwritten_features,
    load_contexts,
    prompt_embeddings,
    prompt_features,
    prompt_names,
    random_contexts,
    read_contexts,
    save_contexts,
    word_contexts,
)

NAMES = ("boat", "fire_hydrant", "person with clothes,people,human", "")


def pieces(clip, name):
    """The token embeddings of a name alone."""
    tokens = clip.tokenizer([name.replace("_", " ")])[0]
    return clip.token_embedding(tokens[1 : int(tokens.argmax())])


@pytest.mark.parametrize("position", ["end", "front", "middle"])
@pytest.mark.parametrize("per_name", [False, True])
def test_layout(clip, position, per_name):
    """SOS, context and name in either order, full stop, EOS; the end token is at the same place in all."""
    names = ("boat", "fire_hydrant", "")
    contexts = random_contexts(clip, names, length=5, per_name=per_name, position=position)
    frame = frame_prompts(clip, names, 5, position)
    got = prompt_embeddings(frame, contexts)
    start, stop, end = clip.token_embedding(clip.tokenizer(["."])[0, :3]).split(1)
    for g, name in enumerate(names):
        name_tokens, context = pieces(clip, name), contexts.vectors[g] if per_name else contexts.vectors
        assert frame.eos[g] == 5 + 2 + len(name_tokens)
        cut = {"end": 5, "front": 0, "middle": 2}[position]
        expected = torch.cat([start, context[:cut], name_tokens, context[cut:], stop, end])
        assert torch.equal(got[g, : frame.eos[g] + 1], expected)
    assert len(pieces(clip, "fire hydrant")) > 1


def test_words_as_contexts_are_the_sentence_itself(clip):
    """A learned prompt that has not been learned is what the tokenizer makes of the words."""
    names = ("boat", "fire hydrant")
    contexts = word_contexts(clip, names, "a clean_origami")
    expected = clip.encode_text([f"a clean origami {n}." for n in names])
    assert_same(prompt_features(clip, contexts), expected)
    front = replace(contexts, position="front")
    expected = clip.encode_text([f"{n} a clean origami." for n in names])
    assert_same(prompt_features(clip, front), expected)
    assert_same(handwritten_features(clip, names), prompt_features(clip, contexts))


def test_only_the_vectors_learn(clip):
    contexts = random_contexts(clip, ("boat", "", ""), length=4, per_name=True)
    contexts.vectors.requires_grad_()
    prompt_features(clip, contexts)[:2].sum().backward()
    assert contexts.vectors.grad[:2].abs().amax((1, 2)).gt(0).all()
    assert not contexts.vectors.grad[2].any()


def test_a_frame_spares_the_tokenizer(clip):
    contexts = random_contexts(clip, NAMES[:2], length=3, position="front")
    frame = frame_prompts(clip, contexts.names, 3, "front")
    assert torch.equal(prompt_features(clip, contexts, frame), prompt_features(clip, contexts))


def test_names_may_share_some_contexts(clip):
    several = random_contexts(clip, ("boat", "car"), length=3, per_name=True)
    shared = replace(several, names=("boat", "cat", "car"), sets=(0, 0, 1))
    alone = prompt_features(clip, Contexts(several.vectors[0], ("boat", "cat")))
    assert_same(prompt_features(clip, shared)[:2], alone)


def test_empty_names_differ_by_their_contexts(clip):
    contexts = random_contexts(clip, ("", ""), length=4, per_name=True, std=0.5)
    a, b = prompt_features(clip, contexts)
    assert not torch.allclose(a, b, atol=1e-3)


def test_random_contexts_repeat_with_their_generator(clip):
    def draw(seed):
        return random_contexts(clip, ["cat"] * 9, per_name=True, generator=torch.Generator().manual_seed(seed)).vectors

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))
    assert draw(1).shape == (9, 16, 32)
    assert draw(1).std().item() == pytest.approx(0.015, rel=0.05)


def test_a_prompt_that_is_too_long_is_refused(clip):
    frame_prompts(clip, ["boat"], 24 - 3 - len(pieces(clip, "boat")))
    with pytest.raises(WsssError, match=r"'boat' with \d+ context vectors has 25 tokens, but clip reads 24"):
        frame_prompts(clip, ["", "boat"], 24 - 2 - len(pieces(clip, "boat")))
    with pytest.raises(WsssError, match="shorten the name"):
        frame_prompts(clip, ["boat " * 40], 4)


def test_sentences_are_averaged_over_templates(clip):
    """Each normalised, averaged, normalised again."""
    templates = ("a clean origami {}.", "a photo of a {}.")
    sentences = clip.encode_text([t.format("fire hydrant") for t in templates])
    expected = F.normalize(sentences.mean(0), dim=0)
    got = handwritten_features(clip, ["fire_hydrant"], templates)
    assert_same(got[0], expected)
    (torch.ones(1, 16, requires_grad=True) @ got.T).sum().backward()  # usable where gradients are kept


def test_names_of_a_class_set():
    voc = load_class_set("voc")
    names = prompt_names(voc)
    assert len(names) == 45
    assert names[14] == "person with clothes,people,human"  # one string
    assert names[2] == "bird avian"
    assert names[20] == "ground"
    assert names[-1] == "sign"
    assert prompt_names(voc, empty_background=True) == (*names[:20], *[""] * 25)
    assert len(prompt_names(load_class_set("coco"))) == 103


@pytest.fixture
def saved(clip, tmp_path):
    classes = load_class_set("cat, dog")
    contexts = random_contexts(clip, prompt_names(classes), length=4, position="front", per_name=True)
    path = tmp_path / "prompts.safetensors"
    settings = {"task": "cls", "rate": 1e-3}
    save_contexts(path, contexts, clip=clip, class_set=classes, settings=settings, sam=SamRecord("tiny", "00"))
    return path, contexts, classes


def test_prompts_come_back_as_they_were(clip, saved):
    path, contexts, classes = saved
    loaded = load_contexts(path, clip=clip, class_set=classes)
    assert torch.equal(loaded.vectors, contexts.vectors)
    assert (loaded.names, loaded.position, loaded.sets) == (contexts.names, "front", None)
    _, about = read_contexts(path)
    assert about["settings"] == {"task": "cls", "rate": 1e-3}
    assert about["clip"] == clip.name
    assert about["sam"] == {"name": "tiny", "identity": "00"}


def test_prompts_of_another_class_set_are_refused(clip, saved):
    for other in ("dog, cat", "cat, dog, cow", "voc"):
        with pytest.raises(WsssError, match=r"prompts\.safetensors: prompts for the 2 classes .* learn-prompts"):
            load_contexts(saved[0], clip=clip, class_set=load_class_set(other))


def test_prompts_of_another_clip_are_refused(clip, saved):
    import copy

    other = copy.deepcopy(clip.model)
    with torch.no_grad():
        other.visual.proj[0, 0] += 1
    with pytest.raises(WsssError, match=r"prompts for clip, whose weights are not those of other; .*`clip`"):
        load_contexts(saved[0], clip=Clip(other, clip.tokenizer, name="other"), class_set=saved[2])


@pytest.mark.parametrize("sam", [5, "tiny", [], {}, {"name": "tiny"}, {"name": 1, "identity": "00"}], ids=str)
def test_a_record_of_sam_that_is_none_is_refused(saved, sam):
    path, *_ = saved
    metadata = metadata_of(path)
    rewritten(path, {**metadata, "prompts": json.dumps(json.loads(metadata["prompts"]) | {"sam": sam})})
    with pytest.raises(WsssError, match="sam must have a name and an identity"):
        read_contexts(path)


def test_what_is_no_file_of_prompts_is_refused(clip, tmp_path):
    path = tmp_path / "x.safetensors"
    with pytest.raises(WsssError, match=r"x\.safetensors: not learned prompts"):
        read_contexts(path)
    path.write_bytes(b"nonsense")
    with pytest.raises(WsssError, match="not learned prompts"):
        read_contexts(path)
    save_file({"vectors": torch.zeros(2, 2)}, path)
    with pytest.raises(WsssError, match="its format is 'unknown'"):
        read_contexts(path)


ANYTHING = [5, None, "x", [1], {"a": 1}, [[[]]], True]


def rewritten(path, metadata, vectors=None):
    """The file again with other metadata or vectors."""
    if vectors is None:
        with safe_open(path, "pt") as file:
            vectors = file.get_tensor("vectors")
    save_file({"vectors": vectors}, path, metadata)


def metadata_of(path):
    with safe_open(path, "pt") as file:
        return file.metadata()


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"names": ' + "1" * 5000 + "}", "[]", "null", "{}", "{", None],
    ids=["nested", "digits", "list", "null", "empty", "torn", "missing"],
)
def test_metadata_that_is_none_is_refused(saved, text):
    path, *_ = saved
    form = {"format": metadata_of(path)["format"]}
    rewritten(path, form if text is None else {**form, "prompts": text})
    with pytest.raises(WsssError, match=r"prompts\.safetensors: not learned prompts .* make them with") as error:
        read_contexts(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "key", ["names", "position", "sets", "clip", "clip_fingerprint", "class_set", "classes", "settings"]
)
def test_a_fact_of_another_type_is_refused(saved, key):
    """Every value either reads as what it must be or is refused, and so is a fact that is missing."""
    path, *_ = saved
    metadata = metadata_of(path)
    about = json.loads(metadata["prompts"])
    right = {"sets": [None], "settings": [{"a": 1}], "clip": ["x"], "clip_fingerprint": ["x"], "class_set": ["x"]}
    for value in ANYTHING:
        rewritten(path, {**metadata, "prompts": json.dumps({**about, key: value})})
        if value in right.get(key, []):
            read_contexts(path)
            continue
        with pytest.raises(WsssError, match=r"prompts\.safetensors: not learned prompts"):
            read_contexts(path)
    del about[key]
    rewritten(path, {**metadata, "prompts": json.dumps(about)})
    with pytest.raises(WsssError, match=r"prompts\.safetensors: not learned prompts"):
        read_contexts(path)


@pytest.mark.parametrize("sets", [[0], [99, 0], [0.0, 1.0], [-1, 0]])
def test_sets_must_point_at_contexts(saved, sets):
    path, contexts, _ = saved
    metadata = metadata_of(path)
    about = json.loads(metadata["prompts"]) | {"sets": (sets * len(contexts.names))[: len(contexts.names)]}
    if sets == [0]:
        about["sets"] = about["sets"][1:]
    rewritten(path, {**metadata, "prompts": json.dumps(about)})
    with pytest.raises(WsssError, match="sets must assign one of the contexts"):
        read_contexts(path)


@pytest.mark.parametrize(
    "vectors",
    [
        torch.zeros(4),
        torch.zeros(1, 2, 3, 4),
        torch.zeros(4, 32).long(),
        torch.zeros(0, 32),
        torch.full((4, 32), torch.nan),
    ],
    ids=["1-d", "4-d", "whole", "empty", "nan"],
)
def test_vectors_that_are_no_contexts_are_refused(saved, vectors):
    path, *_ = saved
    rewritten(path, metadata_of(path), vectors)
    with pytest.raises(WsssError, match=r"prompts\.safetensors: not learned prompts \(vectors"):
        read_contexts(path)


def test_vectors_of_another_width_are_refused(clip, saved):
    path, _, classes = saved
    rewritten(path, metadata_of(path), torch.zeros(4, 999))
    with pytest.raises(WsssError, match="vectors of width 999, where clip takes 32"):
        load_contexts(path, clip=clip, class_set=classes)
