"""Class sets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from wsss_seed.data.classes import known_class_sets, load_class_set, shared_phrases, voc_palette
from wsss_seed.data.toyland import CLASSES, PLACES
from wsss_seed.errors import WsssError


@pytest.mark.parametrize(
    ("name", "classes", "background", "candidates"), [("voc", 20, 25, 6), ("coco", 80, 23, 12), ("toyland", 12, 8, 6)]
)
def test_known_sets_have_the_published_sizes(name, classes, background, candidates):
    c = load_class_set(name)
    assert len(c.names) == len(c.phrases) == len(c.prompts) == classes
    assert len(c.background) == background
    assert c.max_candidates == candidates
    assert len(c.palette) == 256
    assert all(phrases and all(p == p.lower().strip() for p in phrases) for phrases in c.phrases)
    # No phrase may belong to two classes: its detections would be ambiguous.
    words = [p for phrases in c.phrases for p in phrases]
    assert len(words) == len(set(words))


def test_voc_is_in_label_order_and_readable():
    c = load_class_set("voc")
    assert list(c.names) == sorted(c.names)  # alphabetical
    assert (c.names[0], c.names[14], c.names[19]) == ("aeroplane", "person", "tvmonitor")
    assert (c.phrases[0][0], c.phrases[10][0], c.phrases[13][0]) == ("airplane", "dining table", "motorcycle")
    # One string, commas included.
    assert c.prompts[14] == "person with clothes,people,human"
    assert (c.prompts[2], c.prompts[8], c.prompts[19]) == ("bird avian", "chair seat", "tvmonitor screen")
    assert c.part_phrases["horse"] == ("halter", "saddle")
    assert {"keyboard", "sign", "helmet"} <= set(c.background)


def test_coco_prompts_are_those_of_clip_es_but_for_its_slip():
    c = load_class_set("coco")
    assert (c.names[0], c.names[11], c.names[79]) == ("person", "stop sign", "toothbrush")
    assert c.prompts[31] == "snowboard"
    assert (c.prompts[24], c.prompts[44], c.prompts[78]) == ("backpack,bag", "dessertspoon", "hairdrier,blowdrier")
    assert not {"keyboard", "sign"} & set(c.background)


def test_toyland_is_what_the_package_draws():
    c = load_class_set("toyland")
    assert c.names == CLASSES
    assert set(c.background) == set(PLACES)


def test_voc_palette_is_bit_interleaved():
    palette = np.array(voc_palette())
    assert palette[[0, 1, 2, 3, 8, 15, 20, 255]].tolist() == [
        [0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0], [64, 0, 0], [192, 128, 128], [0, 64, 128], [224, 224, 192],
    ]  # fmt: skip
    assert len(np.unique(palette, axis=0)) == 256


def test_find_knows_names_and_phrases_in_any_case():
    c = load_class_set("voc")
    assert c.find("Aeroplane") == c.find("airplane ") == 0
    assert c.find("couch") == 17
    assert c.find("zebra") is None
    # A name wins over another class's phrase.
    own = load_class_set("tie, bow").find("tie")
    assert own == 0


def test_inline_names():
    c = load_class_set(" cat,  red_fox , dog")
    assert (c.name, c.names) == ("custom", ("cat", "red_fox", "dog"))
    assert c.phrases == (("cat",), ("red fox",), ("dog",))
    assert c.background == load_class_set("voc").background
    assert load_class_set("house,").names == ("house",)
    assert "house" not in load_class_set("house,").background  # no negative equals a class


def test_text_file_with_bom_crlf_and_background(tmp_path: Path):
    path = tmp_path / "animals.txt"
    path.write_bytes(b"\xef\xbb\xbfbackground\r\ncat: kitten, tabby cat\r\n\r\n  sheep dog  \r\n")
    c = load_class_set(path)
    assert (c.name, c.names) == ("animals", ("cat", "sheep dog"))
    assert c.phrases == (("kitten", "tabby cat"), ("sheep dog",))
    path.write_text("_background_\n猫\n")
    assert load_class_set(str(path)).names == ("猫",)


def test_a_list_of_known_names_is_the_known_set(tmp_path: Path):
    path = tmp_path / "class_names.txt"
    for name in known_class_sets():
        path.write_text("background\n" + "\n".join(load_class_set(name).names) + "\n")
        assert load_class_set(path) is load_class_set(name)
    assert load_class_set(",".join(CLASSES)).name == "toyland"


def test_known_names_keep_their_phrases(tmp_path: Path):
    """One by one, from the first known class set that has the name, however the names are given."""
    voc, coco = load_class_set("voc"), load_class_set("coco")
    names = ["Aeroplane", "hair drier", "snowman", "axolotl", "horse"]
    path = tmp_path / "mine.txt"
    path.write_text("\n".join(names))
    for spec in (", ".join(names), names, path):
        c = load_class_set(spec)
        assert c.names == tuple(names)
        assert c.phrases == (voc.phrases[0], coco.phrases[78], ("snowman",), ("axolotl",), ("horse",))
        assert c.prompts == ("aeroplane", coco.prompts[78], "snowman", "axolotl", "horse")
        assert c.part_phrases == {"horse": voc.part_phrases["horse"]}
    assert c.background == voc.background


def test_phrases_of_ones_own_replace_the_known_ones(tmp_path: Path):
    path = tmp_path / "mine.txt"
    path.write_text("pottedplant: ficus\nsofa\n")
    for spec in (path, {"pottedplant": ["ficus"], "sofa": []}):
        c = load_class_set(spec)
        assert c.phrases == (("ficus",), ("couch", "sofa"))
        assert c.prompts == ("ficus", "sofa")


def test_no_known_phrase_stands_for_two_classes():
    c = load_class_set({"person": (), "crowd": ("people",), "tvmonitor": (), "tv": (), "couch": (), "sofa": ()})
    assert c.phrases == (
        ("person", "human"),
        ("people",),
        ("tv monitor", "computer monitor"),
        ("tv", "television"),
        ("couch",),
        ("sofa",),
    )


def test_toml_file(tmp_path: Path):
    path = tmp_path / "mine.toml"
    path.write_text(
        'max_candidates = 3\nbackground = ["grass", "Sofa"]\npalette = [[1, 2, 3], [4, 5, 6]]\n'
        'classes = [{ name = "sofa", phrases = ["couch", "sofa"], prompt = "sofa bed", parts = ["cushion"] },\n'
        '           { name = "cat" }]\n'
        '[thresholds."detector.box_threshold"]\nsofa = 0.25\n'
    )
    c = load_class_set(path)
    assert (c.name, c.names, c.phrases, c.prompts) == (
        "mine",
        ("sofa", "cat"),
        (("couch", "sofa"), ("cat",)),
        ("sofa bed", "cat"),
    )
    assert c.background == ("grass",)
    assert c.palette[:3] == ((1, 2, 3), (4, 5, 6), (0, 128, 0))
    assert len(c.palette) == 256
    assert c.part_phrases == {"sofa": ("cushion",)}
    assert c.thresholds == {"detector.box_threshold": {"sofa": 0.25}}
    assert c.max_candidates == 3


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("coc", "did you mean 'coco'"),
        ("cat,,dog", "class 2: empty name"),
        ("cat, Cat", "duplicate name 'Cat'"),
        ("background, cat", "label 0"),
        (",", "empty name"),
        (",".join(f"c{i}" for i in range(255)), "255 classes"),
        ("nowhere/classes.txt", "no such class set file"),
        ("missing.toml", "no such class set file"),
        ("x" * 5000, "unknown class set"),
        ("a\0b", "unknown class set"),
        ("vco", "did you mean 'voc'"),
        ("my.classes", "unknown class set"),
        ("cat; dog, mouse", "separate them by commas, not semicolons"),
        ("cat; dog", "separate them by commas, not semicolons"),
    ],
)
def test_bad_specs(spec: str, message: str):
    with pytest.raises(WsssError) as e:
        load_class_set(spec)
    assert message.casefold() in str(e.value).casefold()
    assert "\n" not in str(e.value)


def test_254_classes_fit():
    assert len(load_class_set(",".join(f"c{i}" for i in range(254))).names) == 254


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no class"),
        ("classes = [", "not valid TOML"),
        ("max_candidates = " + "1" * 5000, "too many digits"),
        ("classes = " + "[" * 5000, "nested too deeply"),
        (
            f'classes = [{{ name = "cat" }}]\n[thresholds."detector.box_threshold"]\ncat = {10**400}',
            "more than 64 bits",
        ),
        ('class = ["cat"]', "unknown key 'class'"),
        ('classes = ["cat"]', "class 1 must be a table"),
        ('classes = [{ name = "cat", phrase = ["x"] }]', "unknown key 'phrase'"),
        ('classes = [{ name = "cat", phrases = [1] }]', "1 is not a phrase"),
        ('classes = [{ name = "cat" }]\nmax_candidates = 0', "max_candidates"),
        ('classes = [{ name = "cat" }]\npalette = [[0, 0, 300]]', "palette colour"),
        (
            'classes = [{ name = "cat" }]\n[thresholds."detector.box_threshold"]\ndog = 1',
            "unknown class in the thresholds",
        ),
        ('classes = [{ name = "cat" }]\n[thresholds."detector.box_threshold"]\ncat = "x"', "not a number"),
        ('classes = [{ name = "cat" }]\n[thresholds]\ncat = 1', "must be a table"),
        ('classes = [{ name = "c\\ta" }]', "control character"),
    ],
)
def test_bad_toml_names_file_and_fault(tmp_path: Path, text: str, message: str):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(WsssError) as e:
        load_class_set(path)
    assert message in str(e.value)
    assert str(path) in str(e.value)


def test_bad_text_files(tmp_path: Path):
    path = tmp_path / "names.txt"
    path.write_bytes("câline".encode("latin-1"))
    with pytest.raises(WsssError, match="not UTF-8"):
        load_class_set(path)
    path.write_text("background\n")
    with pytest.raises(WsssError, match="no class"):
        load_class_set(path)
    path.write_text("cat\nbackground\n")
    with pytest.raises(WsssError, match="label 0"):
        load_class_set(path)


def test_negative_phrases_in_every_form(tmp_path: Path):
    for spec in ("cat, dog, -toy cat", ["cat", "dog", "-toy cat"]):
        classes = load_class_set(spec)
        assert classes.names == ("cat", "dog")
        assert classes.negatives == ("toy cat",)
    (tmp_path / "a.txt").write_text("cat\n- toy cat\n")
    assert load_class_set(tmp_path / "a.txt").negatives == ("toy cat",)
    (tmp_path / "b.toml").write_text('negatives = ["toy cat"]\nassume_present = true\nclasses = [{ name = "cat" }]\n')
    own = load_class_set(tmp_path / "b.toml")
    assert (own.negatives, own.assume_present) == (("toy cat",), True)
    with pytest.raises(WsssError, match="'cat' is a class and a negative phrase"):
        load_class_set("cat, dog, -cat")


def test_classes_of_ones_own_have_distractors():
    """Common objects but the classes themselves; the bundled sets have background phrases of their own."""
    own = load_class_set("cat, unicorn")
    assert {"dog", "tree", "car"} <= set(own.distractors)
    assert "cat" not in own.distractors
    assert not own.assume_present
    for name in ("voc", "coco", "toyland"):
        assert load_class_set(name).distractors == ()
        assert load_class_set(name).assume_present


@pytest.mark.parametrize("name", ["cat", "traffic light", "Hund"])
def test_a_single_name_is_a_class(name):
    assert load_class_set(name).names == (name,)


def test_comment_lines_of_a_text_file(tmp_path: Path):
    (tmp_path / "a.txt").write_text("# animals\nbackground\ncat: kitty\n  # more\ndog\n")
    assert load_class_set(tmp_path / "a.txt").names == ("cat", "dog")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("cat = kitty", "line 2: 'cat = kitty' is no class name; write phrases after a colon"),
        ("cat  # kitty", "line 2: 'cat  # kitty' has a comment after a name"),
    ],
)
def test_lines_that_are_no_class_names(tmp_path: Path, line, message):
    (tmp_path / "a.txt").write_text(f"dog\n{line}\n")
    with pytest.raises(WsssError) as error:
        load_class_set(tmp_path / "a.txt")
    assert message in str(error.value)
    assert str(tmp_path / "a.txt") in str(error.value)


def test_a_phrase_of_two_classes_is_noticed():
    classes = {"cat": ["cat", "kitty"], "dog": ["puppy", "Kitty", "kitty"], "cow": ["cat"]}
    assert shared_phrases(load_class_set(classes)) == [
        "'cat' stands for 2 classes, cat, cow; remove it from all but one",
        "'kitty' stands for 2 classes, cat, dog; remove it from all but one",
    ]
    for name in known_class_sets():
        assert shared_phrases(load_class_set(name)) == []
