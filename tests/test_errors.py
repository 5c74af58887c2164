"""An error is one line, whatever it quotes."""

import pickle

import pytest

from wsss_seed.errors import ImageError, WsssError


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
