"""Label maps in editors: which label an object has, and in what colour it is drawn.

In an editor pixels without an object are background, and pixels of 255 are objects of a label of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...data.classes import IGNORE, voc_palette
from ...errors import DataError

Colour = tuple[int, int, int]

_VOID = (224, 224, 192)  # VOC's colour of what is not labelled


def editor_labels(names: Sequence[str]) -> dict[str, int]:
    """Name -> label of a label map, background and 255 included.

    Args:
        names: of the classes, background first.
    """
    ignore = "ignore"
    while ignore in names:
        ignore += " (255)"
    return {**{name: label for label, name in enumerate(names)}, ignore: IGNORE}


def label_of(name: str, labels: Mapping[str, int], where: str) -> int:
    """The label of a name. Raises DataError, naming the place, for a name that the run does not have."""
    if name in labels:
        return labels[name]
    known = ", ".join([*labels][:8]) + ", ..." * (len(labels) > 8)
    raise DataError(f"{where}: has the label {name!r}, but the run has {known}; rename or remove it in the editor")


def distinct_colours(palette: Sequence[Colour], labels: Mapping[str, int]) -> dict[int, Colour]:
    """A colour per label, black for background, no two alike: its own, or another of VOC's if that is taken.

    Args:
        palette: 256 RGB colours.
        labels: see ``editor_labels``.
    """
    own = {label: _VOID if label == IGNORE else palette[label] for label in labels.values() if label}
    colours: dict[int, Colour] = {0: (0, 0, 0)}
    spare = (colour for colour in voc_palette()[1:] if colour not in own.values())
    for label, colour in own.items():
        colours[label] = next(spare) if colour in colours.values() else colour
    return colours
