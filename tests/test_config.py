"""Settings as frozen dataclasses: read, changed and described by dotted keys."""

from dataclasses import dataclass, field
from importlib import import_module
from typing import ClassVar, Literal

import pytest

from wsss_seed.cli.settings import SETTINGS
from wsss_seed.config import (
    NonNegativeInt,
    PositiveInt,
    UnitInterval,
    describe,
    dotted,
    flatten,
    full_key,
    override,
)
from wsss_seed.errors import UsageError


@dataclass(frozen=True)
class Group:
    """A group.

    Attributes:
        share: a share of something, over
            two lines.
        sizes: ``sizes`` in pixels.
    """

    share: UnitInterval = 0.5
    sizes: tuple[PositiveInt, ...] = (1, 2)


@dataclass(frozen=True)
class Special(Group):
    """A group with one more.

    Attributes:
        on: whether it is on.
    """

    on: bool = True


@dataclass(frozen=True)
class Settings:
    """All.

    Attributes:
        mode: which way.
        count: how many.
    """

    OWNER: ClassVar[str] = "test"
    mode: Literal["a", "b"] = "a"
    count: NonNegativeInt = 3
    group: Special = field(default_factory=Special)


def test_flat_and_back():
    flat = flatten(Settings())
    assert flat == {"mode": "a", "count": 3, "group.share": 0.5, "group.sizes": [1, 2], "group.on": True}
    assert override(Settings(), flat) == Settings()
    assert override(Settings(), {"group.sizes": [4], "mode": "b"}) == Settings("b", 3, Special(sizes=(4,)))


def test_nested_tables_become_dotted_keys():
    assert dotted({"a": {"b": {"c": 1}, "d": 2}, "e": 3}) == {"a.b.c": 1, "a.d": 2, "e": 3}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("group.shar", 0.5, "unknown setting of test 'group.shar'; known: .* Did you mean 'group.share'"),
        ("group.share", 2, "group.share = 2: expected a number from 0 to 1"),
        ("count", -1, "count = -1: expected a whole number of at least 0"),
        ("count", 1.0, "expected a whole number"),
        ("group.sizes", [0], "group.sizes = 0: expected a whole number of at least 1"),
        ("mode", "c", "unknown value of mode 'c'; known: a, b"),
        ("group.on", 1, "expected true or false"),
    ],
)
def test_what_is_refused(key, value, message):
    with pytest.raises(UsageError, match=message):
        override(Settings(), {key: value})


def test_the_last_part_of_a_key_is_enough():
    assert override(Settings(), {"share": 0.25, "count": 1}) == Settings(count=1, group=Special(share=0.25))
    assert override(Settings(), {"group.share": 0.25, "share": 0.75}).group.share == 0.75
    known = ["a.x", "b.x", "x.y", "y", "b.z"]
    assert [full_key(key, known) for key in ("z", "y", "a.x", "w")] == ["b.z", "y", "a.x", "w"]
    with pytest.raises(UsageError, match=r"setting x: ambiguous, write out one of a\.x, b\.x"):
        full_key("x", known)


def test_descriptions_are_those_of_the_docstrings():
    found = {s.key: s for s in describe(Settings())}
    assert list(found) == list(flatten(Settings()))
    assert found["group.share"].meaning == "a share of something, over two lines."
    assert found["group.sizes"].meaning == "sizes in pixels."
    assert found["group.on"].meaning == "whether it is on."
    assert (found["group.share"].values, found["group.share"].default) == ("number 0 to 1", 0.5)
    assert found["group.sizes"].values == "list of whole number from 1"
    assert found["mode"].values == "a, b"
    assert found["count"].values == "whole number from 0"


@pytest.mark.parametrize("owner", SETTINGS)
def test_every_setting_is_documented(owner):
    """A setting without an entry in its docstring raises LookupError."""
    module, name = SETTINGS[owner]
    settings = getattr(import_module(f"wsss_seed.{module}"), name)
    found = describe(settings())
    assert [s.key for s in found] == list(flatten(settings()))
    assert all(len(s.meaning) > 10 for s in found)
    assert owner == settings.OWNER
