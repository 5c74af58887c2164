"""An error is one line, whatever it quotes."""

import pickle

import pytest

from wsss_seed.errors import ImageError, WsssError, broken_library, unknown_name


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("photo é 猫.jpg: damaged; copy it again", "photo é 猫.jpg: damaged; copy it again"),
        ("a\nb\t\x1b[31m", r"a\nb\t\x1b[31m"),
        ("\udcff.jpg", r"\udcff.jpg"),
        ("a\u2028b", r"a\u2028b"),
    ],
)
def test_control_characters_are_escaped(text, shown):
    assert str(WsssError(text)) == shown


def test_the_middle_of_a_long_message_is_left_out():
    text = str(ImageError(f"a.json: unknown class '{'x' * 5000}'; correct the file"))
    assert len(text) <= 1000
    assert text.startswith("a.json: unknown class 'xxx")
    assert text.endswith("xxx'; correct the file")


def test_errors_reach_other_processes():
    error = pickle.loads(pickle.dumps(ImageError("a.jpg: dam\naged")))
    assert (type(error), str(error)) == (ImageError, r"a.jpg: dam\naged")


def test_an_unknown_name_among_many_has_the_nearest_only():
    few = str(unknown_name("colour", "gren", ["red", "green"]))
    assert few == "unknown colour 'gren'; known: green, red. Did you mean 'green'?"
    many = [f"part{i}.colour" for i in range(40)] + ["green"]
    assert str(unknown_name("colour", "gren", many)) == "unknown colour 'gren'. Did you mean 'green'?"
    assert "part39.colour" in str(unknown_name("colour", "zzz", many)), "without a near name, all are listed"


def test_libraries_that_cannot_be_imported():
    assert "both from the same index" in (
        broken_library(RuntimeError("operator torchvision::nms does not exist")) or ""
    )
    assert "No module named 'cv2'" in (broken_library(ModuleNotFoundError("No module named 'cv2'", name="cv2")) or "")
    assert broken_library(ImportError("cannot import name", name="wsss_seed.api")) is None, "a bug of this package"
    assert broken_library(RuntimeError("shape mismatch")) is None
