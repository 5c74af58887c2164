"""Class sets: names, prompt phrases, background phrases, palette and per-class thresholds, as TOML data.

A class set file looks like this; only ``classes`` and the names are required::

    max_candidates = 6                       # most classes that label-free classification may predict per image
    background = ["grass", "sky"]            # background phrases; by default those of VOC and common objects
    negatives = ["toy cat"]                  # what is easily mistaken for a class and is none
    assume_present = false                   # whether every image shows at least one of the classes
    palette = [[0, 0, 0], [128, 0, 0]]       # RGB of labels 0, 1, ...; the others have VOC's colours
    classes = [                              # in label order 1..K
      { name = "sofa", phrases = ["couch", "sofa"], prompt = "sofa", parts = ["cushion"] },
      { name = "cat" },                      # phrases: the name with spaces for underscores; prompt: the first phrase
    ]
    [thresholds."detector.box_threshold"]                # value of a setting for individual classes
    sofa = 0.25
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib import resources
from pathlib import Path
from typing import Any

from ..errors import DataError, UsageError, unknown_name
from ..io.source import Source, location
from ..io.text import parse_toml, read_lines, read_text

IGNORE = 255
MAX_CLASSES = 254  # labels are uint8, 0 is background and 255 ignore
_LONGEST_NAME = 100  # of a single class given without a comma
BACKGROUND_NAMES = ("background", "_background_", "__background__")


@dataclass(frozen=True)
class ClassSet:
    """Ordered foreground classes with their phrases. In label maps 0 is background, 1..K foreground, 255 ignore.

    Attributes:
        name: ``voc``, ``coco``, ``toyland``, a file's stem, or ``custom``.
        names: K foreground names in label order.
        phrases: phrases of each class, the readable name first, then synonyms (CLIP classification, detector captions).
        prompts: name of each class for prompt learning and CLIP-ES.
        background: background phrases.
        distractors: common objects that compete with the classes in label-free classification; none for the bundled
            sets, whose background phrases were chosen for them.
        negatives: phrases of what is easily mistaken for a class and is none.
        assume_present: whether every image is known to show at least one of the classes, as in VOC and COCO. If not, an
            image without any of them becomes all background.
        palette: 256 RGB colours.
        part_phrases: additional detector phrases by class name, for the object definitions of benchmarks at the expense
            of precision (off by default).
        thresholds: setting key -> class name -> value, e.g. ``{"detector.box_threshold": {"person": 0.25}}``.
        max_candidates: most classes that label-free classification may predict per image.
    """

    name: str
    names: tuple[str, ...]
    phrases: tuple[tuple[str, ...], ...]
    prompts: tuple[str, ...]
    background: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    part_phrases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    thresholds: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    max_candidates: int = 6
    distractors: tuple[str, ...] = ()
    negatives: tuple[str, ...] = ()
    assume_present: bool = False

    @cached_property
    def _index(self) -> dict[str, int]:
        spellings = [(p, i) for i, phrases in enumerate(self.phrases) for p in phrases]
        names = [(n, i) for i, n in enumerate(self.names)]
        return {word.casefold(): i for word, i in [*reversed(spellings), *reversed(names)]}

    def find(self, name: str) -> int | None:
        """The foreground index of a class by its name or else one of its phrases, ignoring case; None if unknown."""
        return self._index.get(name.strip().casefold())


def indices_of(class_set: ClassSet, names: Iterable[str]) -> tuple[int, ...]:
    """The foreground indices of the classes with these names, ascending. Raises UsageError."""
    if isinstance(names, str):
        raise UsageError(f"labels {names!r}: expected several names, as in {{{names!r}}}")
    found = {name: class_set.find(name) for name in names}
    for name, index in found.items():
        if index is None:
            raise unknown_name("class", name, class_set.names)
    return tuple(sorted({index for index in found.values() if index is not None}))


def voc_palette() -> tuple[tuple[int, int, int], ...]:
    """VOC's 256 colours: the bits of an index are assigned in turn to R, G and B, from their highest bit down."""

    def channel(index: int, first: int) -> int:
        return sum((index >> (3 * k + first) & 1) << (7 - k) for k in range(3))

    return tuple((channel(i, 0), channel(i, 1), channel(i, 2)) for i in range(256))


def known_class_sets() -> tuple[str, ...]:
    """Names of the bundled class sets."""
    return ("voc", "coco", "toyland")


def load_class_set(spec: str | Path | Sequence[str] | Mapping[str, Sequence[str]] | ClassSet) -> ClassSet:
    """Load a class set.

    Args:
        spec: a class set; a list of names; a mapping of names to phrases; ``voc``, ``coco`` or ``toyland``; the path of
            a TOML file (see this module) or of a text file with one name per line, ``name`` or ``name: phrase,
            phrase``, optionally with ``background`` as its first line, and comment lines that begin with ``#``; or
            names separated by commas, ``"cat, dog, -toy cat"``, of which those with a minus sign are negative phrases;
            or a single name that does not resemble a known class set. Outside TOML files a name without phrases has
            those of that class in voc, coco or toyland, the first that has one: ``"aeroplane, pottedplant"``
            looks for airplanes and potted plants. Exactly the names of a known class set are that class set.

    Raises:
        WsssError: none of these, or names that are empty, repeated or more than 254.
    """
    if isinstance(spec, ClassSet):
        return spec
    if isinstance(spec, Mapping):
        return class_set_of("custom", [(name, tuple(phrases)) for name, phrases in spec.items()], "classes")
    if not isinstance(spec, str | Path):
        return class_set_of("custom", [(name, ()) for name in spec], "classes")
    text = str(spec).strip()
    if text.casefold() in known_class_sets():
        return _known(text.casefold())
    path = location(text)
    if isinstance(path, Source):
        return _from_toml(read_text(path), path.stem, str(path)) if _is_toml(path) else _from_text(path)
    try:
        is_file = path.is_file()
    except (OSError, ValueError):  # too long for a file name, or holding a NUL
        is_file = False
    if is_file:
        return _from_toml(read_text(path), path.stem, str(path)) if _is_toml(path) else _from_text(path)
    if _is_toml(path) or path.suffix.casefold() == ".txt" or (len(path.parts) > 1 and "," not in text):
        raise DataError(f'{path}: no such class set file; give `classes` an existing one, or names such as "cat, dog"')
    if ";" in text:
        raise DataError(f"class names {text[:60]!r}: separate them by commas, not semicolons")
    if "," not in text and not _is_name(text):
        error = unknown_name("class set", text, known_class_sets())
        raise DataError(f"{error} Separate class names by commas; a class with such a name needs a trailing comma")
    names = [n.strip() for n in text.removesuffix(",").split(",")]
    return class_set_of("custom", [(n, ()) for n in names], f"class names {text[:60]!r}")


def _is_name(text: str) -> bool:
    """Whether a text without commas is the name of a class, and no misspelt class set or file."""
    if not text or len(text) > _LONGEST_NAME or not text.isprintable() or re.search(r"\.\w+$", text):
        return False
    return not difflib.get_close_matches(text.casefold(), known_class_sets(), 1, 0.65)


def shared_phrases(class_set: ClassSet) -> list[str]:
    """What to know of phrases that stand for several classes, one sentence each: their boxes and scores compete, and in
    image-level labels they mean the class that has this name, else the first."""
    owners: dict[str, list[str]] = {}
    for name, phrases in zip(class_set.names, class_set.phrases, strict=True):
        for word in dict.fromkeys(word.casefold() for word in (name, *phrases)):
            owners.setdefault(word, []).append(name)
    return [
        f"{word!r} stands for {len(classes)} classes, {', '.join(classes)}; remove it from all but one"
        for word, classes in owners.items()
        if len(classes) > 1
    ]


def read_names(path: Path | Source) -> tuple[str, ...]:
    """Read the ``classes.txt`` of a folder of label maps, background first.

    Raises:
        WsssError: it cannot be read, or has no names or more than 255.
    """
    names = tuple(line for _, line in read_lines(path))
    if not 1 <= len(names) <= MAX_CLASSES + 1:
        raise DataError(
            f"{path}: {len(names)} names; expected one a line, background first, of at most {MAX_CLASSES + 1} in all"
        )
    return names


def _is_toml(path: Path | Source) -> bool:
    return path.suffix.casefold() == ".toml"


@cache
def _known(name: str) -> ClassSet:
    file = resources.files(__package__) / "classsets" / f"{name}.toml"
    return _from_toml(file.read_text("utf-8"), name, file.name)


@cache
def _objects() -> tuple[str, ...]:
    """Names of common objects, the distractors of class sets without background phrases of their own."""
    file = resources.files(__package__) / "classsets" / "objects.toml"
    return tuple(parse_toml(file.read_text("utf-8"), file.name)["objects"])


def _from_text(path: Path | Source) -> ClassSet:
    entries: list[tuple[str, tuple[str, ...]]] = []
    for number, line in read_lines(path):
        if line.startswith("#"):
            continue
        name, colon, rest = line.partition(":")
        if " #" in line:
            raise DataError(f"{path}, line {number}: {line!r} has a comment after a name; give it a line of its own")
        if not colon and "=" in line:
            raise DataError(
                f"{path}, line {number}: {line!r} is no class name; write phrases after a colon, as in 'cat: cat, "
                "kitty'"
            )
        entries.append((name.strip(), tuple(p.strip() for p in rest.split(",") if p.strip())))
    if entries and entries[0][0].casefold() in BACKGROUND_NAMES:
        del entries[0]
    return class_set_of(path.stem, entries, str(path))


def class_set_of(name: str, entries: Sequence[tuple[str, Sequence[str]]], where: str) -> ClassSet:
    """A class set from names with phrases; the bundled one if exactly its names are given.

    A name without phrases has those of the first bundled class set with a class of that name. Names that begin with a
    minus sign are negative phrases.

    Raises:
        WsssError: names that are empty, repeated or more than 254; ``where`` names their source.
    """
    negatives = [n[1:].strip() for n, _ in entries if n.startswith("-")]
    entries = [(n, phrases) for n, phrases in entries if not n.startswith("-")]
    names = tuple(n for n, _ in entries)
    if not negatives and not any(phrases for _, phrases in entries):
        for known in known_class_sets():
            if _known(known).names == names:
                return _known(known)
    taken = {word.strip().casefold() for n, phrases in entries for word in (n, *phrases)}
    classes = []
    for n, phrases in entries:
        entry = {"name": n, "phrases": list(phrases)} if phrases else _known_entry(n, taken)
        taken |= {phrase.casefold() for phrase in entry["phrases"]}
        classes.append(entry)
    table: dict[str, Any] = {"classes": classes}
    return _build(table | ({"negatives": negatives} if negatives else {}), name, where)


def _known_entry(name: str, taken: Set[str]) -> dict[str, Any]:
    """The entry of a class given by its name alone, with the phrases that a bundled class set has for this name except
    those that stand for another class already."""
    own = name.strip().casefold()
    for known in map(_known, known_class_sets()):
        for index, other in enumerate(known.names):
            if other.casefold() == own:
                phrases = [p for p in known.phrases[index] if p.casefold() == own or p.casefold() not in taken]
                parts = {"parts": list(known.part_phrases[other])} if other in known.part_phrases else {}
                return {"name": name, "phrases": phrases, "prompt": known.prompts[index], **parts}
    return {"name": name, "phrases": []}


def _from_toml(text: str, name: str, where: str) -> ClassSet:
    return _build(parse_toml(text, where), name, where)


_KEYS = {
    "classes": list,
    "background": list,
    "negatives": list,
    "assume_present": bool,
    "palette": list,
    "thresholds": dict,
    "max_candidates": int,
}
_CLASS_KEYS = {"name": str, "phrases": list, "prompt": str, "parts": list}


def _build(table: Mapping[str, Any], name: str, where: str) -> ClassSet:
    """A class set from the table of a TOML file; ``where`` names it in messages."""
    _check_keys(table, _KEYS, where)
    names: list[str] = []
    phrases: list[tuple[str, ...]] = []
    prompts: list[str] = []
    parts: dict[str, tuple[str, ...]] = {}
    seen: set[str] = set()
    for n, entry in enumerate(table.get("classes", []), 1):
        here = f"{where}: class {n}"
        if not isinstance(entry, dict):
            raise DataError(f'{here} must be a table such as {{ name = "cat" }}')
        _check_keys(entry, _CLASS_KEYS, here)
        own = _check_name(entry.get("name", ""), here)
        if own.casefold() in seen:
            raise DataError(f"{here}: duplicate name {own!r}")
        seen.add(own.casefold())
        names.append(own)
        phrases.append(_words(entry.get("phrases", []), here) or (own.replace("_", " "),))
        prompts.append(entry.get("prompt") or phrases[-1][0])
        if "parts" in entry:
            parts[own] = _words(entry["parts"], here)
    if not names:
        raise DataError(f"{where}: no class; name at least one")
    if len(names) > MAX_CLASSES:
        raise DataError(f"{where}: {len(names)} classes; a label map has room for {MAX_CLASSES}")
    foreground = {w.casefold() for ws in (*phrases, names) for w in ws}
    background = _words(table.get("background", []), where) if "background" in table else _known("voc").background
    negatives = _words(table.get("negatives", []), where)
    both = [n for n in negatives if n.casefold() in foreground]
    if both:
        raise DataError(f"{where}: {both[0]!r} is a class and a negative phrase")
    max_candidates = table.get("max_candidates", 6)
    if max_candidates < 1:
        raise DataError(f"{where}: max_candidates must be at least 1")
    return ClassSet(
        name=name,
        names=tuple(names),
        phrases=tuple(phrases),
        prompts=tuple(prompts),
        background=tuple(b for b in background if b.casefold() not in foreground),
        palette=_palette(table.get("palette", []), where),
        part_phrases=parts,
        thresholds=_thresholds(table.get("thresholds", {}), names, where),
        max_candidates=max_candidates,
        distractors=() if "background" in table else tuple(o for o in _objects() if o.casefold() not in foreground),
        negatives=negatives,
        assume_present=table.get("assume_present", False),
    )


def _check_keys(table: Mapping[str, Any], known: Mapping[str, type], where: str) -> None:
    for key, value in table.items():
        if key not in known:
            raise DataError(f"{where}: {unknown_name('key', key, known)}")
        if not isinstance(value, known[key]) or (isinstance(value, bool) and known[key] is not bool):
            raise DataError(f"{where}: {key} must be a {known[key].__name__}")


def _check_name(name: str, where: str) -> str:
    name = name.strip()
    if not name:
        raise DataError(f"{where}: empty name; remove the comma or line")
    if not name.isprintable():
        raise DataError(f"{where}: the name {name!r} contains a control character")
    if name.casefold() in BACKGROUND_NAMES:
        raise DataError(f"{where}: background is label 0 in every class set; leave {name!r} out")
    return name


def _words(values: Iterable[Any], where: str) -> tuple[str, ...]:
    """Phrases without duplicates, in order."""
    words = []
    for value in values:
        if not isinstance(value, str) or not value.strip():
            raise DataError(f"{where}: {value!r} is not a phrase")
        words.append(value.strip())
    return tuple(dict.fromkeys(words))


def _palette(colours: list[Any], where: str) -> tuple[tuple[int, int, int], ...]:
    given = []
    for colour in colours:
        numbers = colour if isinstance(colour, list) else []
        if len(numbers) != 3 or not all(type(v) is int and 0 <= v <= 255 for v in numbers):
            raise DataError(f"{where}: palette colour {colour!r} is not three numbers 0..255")
        given.append((colour[0], colour[1], colour[2]))
    if len(given) > 256:
        raise DataError(f"{where}: {len(given)} palette colours; at most 256")
    return (*given, *voc_palette()[len(given) :])


def _thresholds(tables: Mapping[str, Any], names: list[str], where: str) -> dict[str, dict[str, float]]:
    out: dict[str, dict[str, float]] = {}
    for key, values in tables.items():
        if not isinstance(values, dict):
            raise DataError(f'{where}: thresholds of {key!r} must be a table; quote the key: [thresholds."{key}..."]')
        for name, value in values.items():
            if name not in names:
                raise DataError(f"{where}: {unknown_name(f'class in the thresholds of {key!r}', name, names)}")
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise DataError(f"{where}: threshold {key!r} of {name!r} is not a number")
        out[key] = {name: float(value) for name, value in values.items()}
    return out
