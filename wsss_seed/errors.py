"""The errors that a user sees as one line.

::

    WsssError
        UsageError       an argument or a setting: an unknown name, a value out of range, what does not fit together
        DataError        a dataset, a class set, image-level labels, ground truth
        CheckpointError  weights: of models, learned prompts or trained segmenters
        RunFolderError   a folder that is written or read as a run, an export or a training
        ImageError       one image; the others are not affected

Messages name an argument in backquotes, `labels`, and a setting as `detector.box_threshold`. ``on_command_line`` spells
both as options.
"""

import difflib
import re
from collections.abc import Iterable

_LONGEST = 1000
_MANY = 30  # names that are too many to list


class WsssError(Exception):
    """Unusable input or wrong usage. The message is one line: what is wrong, the file, and the remedy.

    Messages quote files that may hold anything, so control characters are escaped and the middle of a text of more than
    1,000 characters is left out.
    """

    def __str__(self) -> str:
        message = super().__str__()
        if not message.isprintable():
            message = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in message)
        if len(message) > _LONGEST:
            message = f"{message[: _LONGEST - 300]} ... {message[-290:]}"
        return message


class UsageError(WsssError):
    """An argument or a setting that is unknown, has an unusable value, or does not fit another one."""


class DataError(WsssError):
    """A dataset, class set, label file or ground truth that cannot be used."""


class CheckpointError(WsssError):
    """Weights that are missing, damaged, or of another model or class set."""


class RunFolderError(WsssError):
    """A folder that cannot be written or read as a run, an export or a training."""


class ImageError(WsssError):
    """One image cannot be read or seeded; the others are not affected."""


def on_command_line(message: str) -> str:
    """A message with arguments and settings as the command line spells them: `labels` as --labels,
    `detector.box_threshold` as --set detector.box_threshold."""

    def spell(match: re.Match[str]) -> str:
        name = match[1]
        return f"--set {name}" if "." in name else f"--{name.replace('_', '-')}"

    return re.sub(r"`([a-z][a-z0-9_]*(?:\.[a-z0-9_]+)*)`", spell, message)


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """The error for an unknown name: lists the known names and the nearest match; of many, only the nearest three.

    Args:
        kind: what was asked for, e.g. ``"data set"``.
        name: what the user wrote.
        known: the names there are.
    """
    names = sorted(known)
    name = name if len(name) <= 100 else f"{name[:97]}..."
    near = difflib.get_close_matches(name, names, 3, 0.5)
    if near and len(names) > _MANY:
        nearest = " or ".join(f"'{other}'" for other in near)
        return UsageError(f"unknown {kind} '{name}'. Did you mean {nearest}?")
    hint = f" Did you mean '{near[0]}'?" if near else ""
    return UsageError(f"unknown {kind} '{name}'; known: {', '.join(names)}.{hint}")


def out_of_memory(error: BaseException) -> str | None:
    """What to do about an error that says that memory ran out; None for every other error.

    numpy, PIL and Python raise MemoryError, torch a RuntimeError for the computer's memory and an error of its own for
    a GPU's. Their messages have many lines or none.
    """
    if type(error).__name__ == "OutOfMemoryError":  # torch's, which need not be imported for this
        return (
            "out of GPU memory; choose smaller models, such as the model set light, end other programs on this GPU, or "
            "use `device` cpu (`precision` fp32 needs more than auto)"
        )
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)):
        return "out of memory; close other programs, use smaller images or smaller models"
    return None


def broken_library(error: BaseException) -> str | None:
    """What to do about an error that says that a library cannot be imported; None for every other error.

    A torchvision that was built for another torch raises a RuntimeError when it is imported.
    """
    if isinstance(error, RuntimeError) and "operator torchvision::" in str(error):
        return (
            "torchvision was built for another torch; install both from the same index "
            "(pip install --force-reinstall torch torchvision), then run wsss-seed doctor"
        )
    if isinstance(error, ImportError) and not (error.name or "").startswith("wsss_seed"):
        return f"a library cannot be imported ({one_line(error)}); wsss-seed doctor checks all of them"
    return None


def one_line(error: BaseException) -> str:
    """The first sentence of an error, on one line."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].strip()[:200]
