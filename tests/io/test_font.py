"""Pictures name files and classes in the script they are written in, if an installed font has it."""

from __future__ import annotations

import pytest
from PIL import ImageFont

from wsss_seed.io import font as room
from wsss_seed.io.font import font_for


class Alphabet:
    """A font with these characters."""

    def __init__(self, characters: str) -> None:
        self.characters = characters

    def getmask(self, text: str) -> bytes:
        return text.encode() if text in self.characters else b"box"


@pytest.fixture
def installed(monkeypatch):
    fonts: dict[str, Alphabet] = {}
    monkeypatch.setattr(room, "_installed", lambda name, _: fonts.get(name))
    return fonts


def test_latin_names_need_no_other_font(installed):
    installed["DejaVuSans.ttf"] = Alphabet("abc")
    assert font_for(["a cat", "b é"], 14).getname()[0] == ImageFont.load_default(14).getname()[0]


def test_the_font_with_most_of_the_characters(installed, caplog):
    installed["DejaVuSans.ttf"] = Alphabet("abcж")
    installed["NotoSansCJK-Regular.ttc"] = Alphabet("abcж猫")
    assert font_for(["abж"], 14) is installed["DejaVuSans.ttf"]
    assert font_for(["abж", "猫"], 14) is installed["NotoSansCJK-Regular.ttc"]
    assert not caplog.records


def test_without_any_the_default_remains(installed, caplog):
    assert font_for(["a 猫"], 14).getname()[0] == ImageFont.load_default(14).getname()[0]
    assert "no installed font has 猫" in caplog.text


def test_a_font_that_is_not_installed():
    assert room._installed("no such font.ttf", 12) is None
