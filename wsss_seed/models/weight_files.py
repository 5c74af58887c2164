"""What every reader of weights may run into."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors import safe_open

from ..errors import CheckpointError, one_line

# What reading a wrong or damaged file ends in. json, zipfile, zlib, safetensors, torch and the models' libraries have
# their own errors, among them a bare Exception where tokenizers cannot read tokenizer.json.
UNREADABLE = Exception

_SIDE = 1024  # of images, which need not be a dimension of any tensor


def check_sizes(config: Any, path: Path, weights: Path) -> None:
    """See that a configuration describes no model far larger than its weights, before the model is built.

    Widths, depths and vocabularies are dimensions of tensors or smaller. A damaged or malicious one could ask for more
    memory than there is, and a process that is killed for it leaves no message.

    Args:
        config: what was read from ``path``.
        path: the file, for the message.
        weights: safetensors; only its header is read.

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
    """The numbers in a JSON value that may be sizes."""
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _numbers(item)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value
