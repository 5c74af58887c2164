"""Weights of a TorchScript archive, the format of OpenAI's CLIP, as plain tensors, without running code in it."""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_TYPES = {
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "BoolStorage": torch.bool,
}


class _Module:
    """Stand-in for objects of the classes in an archive: attributes without behaviour."""


def _tensor(storage: Tensor, offset: int, size: Sequence[int], stride: Sequence[int], *_: Any) -> Tensor:
    return torch.as_strided(storage, tuple(size), tuple(stride), offset)


def _plain(value: Any, *_: Any) -> Any:
    return value


class _Reader(pickle.Unpickler):
    """An unpickler that supports tensors and attribute lists only."""

    def __init__(self, archive: zipfile.ZipFile, root: str):
        super().__init__(archive.open(f"{root}/data.pkl"))
        self._archive, self._root = archive, root

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("__torch__"):
            return _Module
        if module == "torch._utils" and name in ("_rebuild_tensor_v2", "_rebuild_tensor"):
            return _tensor
        if module == "torch.jit._pickle" and name.startswith(("build_", "restore_")):
            return _plain
        if module == "torch" and name in _TYPES:
            return _TYPES[name]
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        raise pickle.UnpicklingError(f"contains {module}.{name}, which is not a tensor")

    def persistent_load(self, pid: Any) -> Tensor:
        kind, dtype, key, *_ = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype):
            raise pickle.UnpicklingError(f"contains {kind!r}, which is not a tensor")
        raw = bytearray(self._archive.read(f"{self._root}/data/{key}"))
        return torch.frombuffer(raw, dtype=dtype) if raw else torch.empty(0, dtype=dtype)


def is_torchscript(path: Path) -> bool:
    """Whether a file is a TorchScript archive."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def read_torchscript(path: Path) -> dict[str, Tensor]:
    """The tensors of an archive with the names of its ``state_dict``.

    Raises:
        pickle.UnpicklingError: the archive contains more than modules of plain attributes and tensors.
        zipfile.BadZipFile, KeyError, RuntimeError: a damaged archive.
    """
    with zipfile.ZipFile(path) as archive:
        root = next(n for n in archive.namelist() if n.endswith("/data.pkl")).removesuffix("/data.pkl")
        tensors: dict[str, Tensor] = {}
        _collect(_Reader(archive, root).load(), "", tensors)
    return tensors


def _collect(module: Any, prefix: str, into: dict[str, Tensor]) -> None:
    for name, value in vars(module).items():
        if isinstance(value, Tensor):
            into[prefix + name] = value
        elif isinstance(value, _Module):
            _collect(value, f"{prefix}{name}.", into)
