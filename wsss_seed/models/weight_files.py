"""Errors and checks common to all loaders of weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors import safe_open

from ..errors import CheckpointError, one_line

# Raised for a wrong or damaged file: json, zipfile, zlib, safetensors, torch and the model libraries have errors of
# their own, and tokenizers raises a bare Exception for an unreadable tokenizer.json.
UNREADABLE = Exception

_SIDE = 1024  # image size, which need not be a dimension of any tensor


def check_sizes(config: Any, path: Path, weights: Path) -> None:
    """Check that a configuration does not describe a model far larger than its weights, before it is built.

    Widths, depths and vocabulary sizes do not exceed the dimensions of tensors. A damaged or malicious configuration
    could allocate more memory than there is, and a process killed for that leaves no message.

    Args:
        config: contents of ``path``.
        path: the configuration file, for the message.
        weights: safetensors file; only its header is read.

    Raises:
        WsssError: a number is too large, or the weights cannot be read.
    """
    try:
        with safe_open(weights, "pt") as file:
            largest = max((n for key in file.keys() for n in file.get_slice(key).get_shape()), default=0)  # noqa: SIM118
    except UNREADABLE as error:
        raise CheckpointError(f"{weights}: not the weights of {path} ({one_line(error)}); install it again") from None
    limit = max(_SIDE, largest)
    for number in _numbers(config):
        if abs(number) > limit:
            raise CheckpointError(
                f"{path}: a size of {number:.6g}; its weights have none above {limit}; install it again"
            )


def _numbers(value: Any) -> Iterator[float]:
    """The numbers in a JSON value."""
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _numbers(item)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value
