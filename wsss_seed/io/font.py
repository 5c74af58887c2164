"""A font for names in any script: Pillow's own has Latin letters only."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from functools import cache

from PIL import ImageFont

log = logging.getLogger(__name__)

Font = ImageFont.ImageFont | ImageFont.FreeTypeFont

_INSTALLED = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "LiberationSans-Regular.ttf",
    "FreeSans.ttf",
    "NotoSansCJK-Regular.ttc",
    "NotoSansDevanagari-Regular.ttf",
    "wqy-zenhei.ttc",
    "wqy-microhei.ttc",
    "unifont.ttf",
    "Arial Unicode.ttf",
    "Hiragino Sans GB.ttc",
    "AppleSDGothicNeo.ttc",
    "arial.ttf",
    "msyh.ttc",
    "msgothic.ttc",
    "malgun.ttf",
    "Nirmala.ttf",
)
"""Files that Linux distributions, macOS and Windows install, most of them with several scripts."""


def font_for(texts: Iterable[str], size: int) -> Font:
    """The font for these texts: Pillow's own if it has all their characters, else the installed font that has most.

    Logs a warning if characters are left that it can only draw as boxes.

    Args:
        texts: what is to be written.
        size: in pixels.
    """
    characters = frozenset("".join(texts))
    best: Font = ImageFont.load_default(size)
    lacking = _lacking(best, characters)
    for name in _INSTALLED:
        if not lacking:
            break
        font = _installed(name, size)
        if font is not None and (fewer := _lacking(font, characters)) < lacking:
            best, lacking = font, fewer
    if lacking:
        without = next(c for c in sorted(characters) if _lacking(best, c))
        log.warning("no installed font has %s, which is drawn as a box; install one, such as Noto Sans CJK", without)
    return best


@cache
def _installed(name: str, size: int) -> Font | None:
    try:
        return ImageFont.truetype(name, size)
    except OSError:
        return None


def _lacking(font: Font, characters: Iterable[str]) -> int:
    """Number of characters that the font would draw as it draws those that do not exist."""
    absent = bytes(font.getmask("\uffff"))
    return sum(bytes(font.getmask(c)) == absent for c in characters if not c.isspace())
