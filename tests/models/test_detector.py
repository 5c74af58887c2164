"""Captions, spans and scores: from phrases to tokens to classes."""

import string

import numpy as np
import pytest

from tests.models.small_detector import vocabulary
from wsss_seed.errors import WsssError
from wsss_seed.models.detector import (
    Phrase,
    Queries,
    class_scores,
    merged,
    normalised,
    pixel_boxes,
    span_tokens,
    unique_phrases,
    write_caption,
    write_captions,
)
from wsss_seed.models.grounding_dino import build_tokenizer

TOKENIZER = build_tokenizer(vocabulary())


def count(text):
    return len(TOKENIZER.tokenize(text))


def tokens_of(caption):
    """For each phrase of a caption the indices of its tokens, and all of the caption's tokens."""
    encoded = TOKENIZER(caption.text, return_offsets_mapping=True)
    names = TOKENIZER.convert_ids_to_tokens(encoded["input_ids"])
    return [span_tokens(encoded["offset_mapping"], s) for s in caption.spans], names, encoded["offset_mapping"]


def random_phrases(random, classes):
    """For each class some phrases of words that share words and pieces with one another."""
    words = ["dining", "table", "tables", "cat", "cats", "dog", "hot", "air", "airplane", "tennis", "x-ray", "é"]
    words += ["".join(random.choice(list(string.ascii_lowercase), 4)) for _ in range(4)]

    def phrase():
        return " ".join(random.choice(words, random.randint(1, 4)))

    return [[phrase() for _ in range(random.randint(1, 4))] for _ in range(classes)]


def test_a_caption_is_lower_case_joined_by_dots_and_ends_with_one():
    caption = write_caption(unique_phrases([["Dining Table", "table"], [" cat. "]]))
    assert caption.text == "dining table . table . cat ."
    assert [caption.text[a:b] for a, b in caption.spans] == ["dining table", "table", "cat"]


def test_phrases_never_hold_what_ends_a_phrase():
    assert normalised("St.  Bernard?\tDOG") == "st bernard dog"
    assert unique_phrases([["?"], ["."], ["a"]]) == [Phrase("a", (2,))]


def test_a_phrase_of_two_classes_is_written_once_and_scores_both():
    assert unique_phrases([["cat", "Cat"], ["dog", "cat"]]) == [Phrase("cat", (0, 1)), Phrase("dog", (1,))]


@pytest.mark.parametrize("seed", range(25))
def test_span_tokens_are_exactly_the_pieces_of_the_phrase(seed):
    random = np.random.RandomState(seed)
    caption = write_caption(unique_phrases(random_phrases(random, 6)))
    owned, names, _ = tokens_of(caption)
    for phrase, tokens in zip(caption.phrases, owned, strict=True):
        assert [names[i] for i in tokens] == TOKENIZER.tokenize(phrase.text)
    used = [i for tokens in owned for i in tokens]
    assert len(used) == len(set(used))
    left = {names[i] for i in set(range(len(names))) - set(used)}
    assert left == {"[CLS]", "[SEP]", "."}  # separators and special tokens belong to no phrase, all else to one


def test_dining_table_and_table_have_tokens_of_their_own():
    owned, names, _ = tokens_of(write_caption(unique_phrases([["dining table"], ["table"], ["diningroom"]])))
    assert [[names[i] for i in tokens] for tokens in owned] == [["dining", "table"], ["table"], ["dining", "##room"]]
    assert owned == [[1, 2], [4], [6, 7]]


@pytest.mark.parametrize("seed", range(10))
def test_class_score_is_the_best_phrase_by_its_mean_token(seed):
    random = np.random.RandomState(seed)
    phrases = random_phrases(random, 5)
    caption = write_caption(unique_phrases(phrases))
    owned, names, offsets = tokens_of(caption)
    probabilities = np.zeros((7, 256), np.float32)
    probabilities[:, : len(names)] = random.uniform(size=(7, len(names)))
    mean = class_scores(probabilities, caption, offsets, 5)
    best = class_scores(probabilities, caption, offsets, 5, "best_token")
    tokens = dict(zip([p.text for p in caption.phrases], owned, strict=True))
    for c, texts in enumerate(phrases):
        mine = [tokens[normalised(t)] for t in texts]
        np.testing.assert_allclose(mean[:, c], np.max([probabilities[:, t].mean(1) for t in mine], 0), atol=1e-6)
        np.testing.assert_allclose(best[:, c], np.max([probabilities[:, t].max(1) for t in mine], 0), atol=1e-6)
    assert mean.dtype == np.float32
    assert (best >= mean - 1e-6).all()


def test_the_two_score_maps_differ_only_where_phrases_share_words():
    """A query on a table: both readings agree on one word, and part on "dining table" against "table"."""
    caption = write_caption(unique_phrases([["dining table"], ["table"]]))
    _, names, offsets = tokens_of(caption)
    probabilities = np.zeros((1, len(names)), np.float32)
    probabilities[0, [1, 2, 4]] = 0.1, 0.8, 0.7
    assert class_scores(probabilities, caption, offsets, 2).argmax() == 1
    assert class_scores(probabilities, caption, offsets, 2, "best_token").argmax() == 0


def test_classes_without_phrases_score_nothing():
    caption = write_caption(unique_phrases([[], ["cat"]]))
    _, names, offsets = tokens_of(caption)
    scores = class_scores(np.ones((2, len(names)), np.float32), caption, offsets, 3)
    np.testing.assert_array_equal(scores, [[0, 1, 0], [0, 1, 0]])


@pytest.mark.parametrize("seed", range(5))
def test_long_lists_become_captions_of_whole_phrases(seed):
    """Every phrase once, in order, none over the limit, and no caption that would have fitted into the one before."""
    random = np.random.RandomState(seed)
    phrases = unique_phrases(random_phrases(random, 120))
    captions = write_captions(phrases, count)
    assert len(captions) > 2
    assert [p for c in captions for p in c.phrases] == phrases
    lengths = [len(TOKENIZER(c.text)["input_ids"]) for c in captions]
    assert max(lengths) <= 250
    for length, after in zip(lengths, captions[1:], strict=False):
        assert length + count(after.phrases[0].text) + 1 > 250
    for caption in captions:
        owned, names, _ = tokens_of(caption)
        texts = [[names[i] for i in tokens] for tokens in owned]
        assert texts == [TOKENIZER.tokenize(p.text) for p in caption.phrases]


def test_a_short_list_is_one_caption_and_no_list_is_none():
    assert len(write_captions(unique_phrases([["cat"], ["dog"]]), count)) == 1
    assert write_captions([], count) == []


def test_a_phrase_longer_than_the_text_encoder_is_an_error_that_names_it():
    with pytest.raises(WsssError, match=r"zzzz.*shorten"):
        write_captions([Phrase("zzzz " * 70, (0,))], count)


def test_boxes_are_pixels_of_the_original_image_clipped_to_it():
    boxes = pixel_boxes(np.array([[0.5, 0.5, 0.5, 1.0], [0.0, 0.9, 0.2, 0.4]]), 100, 200)
    np.testing.assert_allclose(boxes, [[50, 0, 150, 100], [0, 70, 20, 100]], atol=1e-4)
    assert boxes.dtype == np.float32
    assert pixel_boxes(np.zeros((0, 4)), 10, 10).shape == (0, 4)


def test_merging_puts_queries_together():
    a = Queries(np.ones((2, 4), np.float32), np.ones(2, np.float32), np.zeros((2, 3), np.float32))
    both = merged([a, a], 3)
    assert [x.shape for x in both] == [(4, 4), (4,), (4, 3)]
    assert [x.shape for x in merged([], 3)] == [(0, 4), (0,), (0, 3)]
    assert all(x.dtype == np.float32 for x in merged([], 3))
