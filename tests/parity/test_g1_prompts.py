"""Learned contexts to text features, as the original has them."""

from __future__ import annotations

import torch

from wsss_seed.seeding.clip_sams.prompts import (
    Contexts,
    frame_prompts,
    prompt_features,
    word_contexts,
)

GOLDEN = "g1_prompts"


def contexts_of(g, case):
    config = g.cases[case]
    sets = tuple(config["csc"]) if isinstance(config["csc"], list) else None
    names, position = tuple(config["classnames"]), config["class_token_position"]
    return Contexts(g.tensor(case, "ctx").requires_grad_(), names, position, sets)


def test_tokens(g, case, clip):
    contexts = contexts_of(g, case)
    length = contexts.vectors.shape[-2]
    frame = frame_prompts(clip, contexts.names, length, contexts.position)
    expected = g.tensor(case, "tokens").long()
    slots = torch.zeros(expected.shape[1], dtype=torch.bool)
    if g.cases[case]["ctx_init"]:  # the words stand where we have placeholders
        slots[1 : 1 + length] = True
    assert torch.equal(frame.tokens[:, ~slots], expected[:, ~slots])
    assert torch.equal(frame.eos, g.tensor(case, "eot_index").long())
    assert torch.equal(frame.eos - length - 2, g.tensor(case, "name_lens").long())


def test_text_features_and_their_gradient(g, case, clip, close):
    contexts = contexts_of(g, case)
    features = prompt_features(clip, contexts)
    close(features, g(case, "text_features_norm"), atol=1e-5)
    (features * g.tensor(case, "cotangent")).sum().backward()
    close(contexts.vectors.grad, g(case, "grad_ctx"), of_max=1e-4)


def test_contexts_that_start_from_words(g, clip, close):
    case = "c5_ctxinit_shared"
    close(word_contexts(clip, ["cat"], g.cases[case]["ctx_init"]).vectors, g(case, "ctx"))
