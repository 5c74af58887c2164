"""``cls_labels.npy``: a pickled dict of arrays, read without executing code from the pickle."""

from __future__ import annotations

import math
import pickle
import warnings
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError
from ..io.source import Source
from ..io.text import read_bytes


def _encode(text: str, encoding: str) -> bytes:
    """Bytes in pickles of protocol 2: latin-1 text to be encoded."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes in encoding {encoding!r}")
    return text.encode("latin1")


def _allowed() -> dict[tuple[str, str], Any]:
    """Functions that rebuild NumPy arrays and numbers, under the module names of NumPy 1 and 2."""
    # An empty array's own pickle names the functions that rebuild arrays and scalars; they have no public name.
    rebuild, scalar = np.empty(0).__reduce__()[0], np.float32(0).__reduce__()[0]
    names: dict[tuple[str, str], Any] = {
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("_codecs", "encode"): _encode,
    }
    for core in ("numpy.core", "numpy._core"):
        names[f"{core}.multiarray", "_reconstruct"] = rebuild
        names[f"{core}.multiarray", "scalar"] = scalar
    # Pickles of protocol 5 store the bytes of arrays separately.
    from_buffer = np.empty(0).__reduce_ex__(5)[0]
    for core in ("numpy.core", "numpy._core"):
        names[f"{core}.numeric", "_frombuffer"] = from_buffer
    return names


class _ArraysOnly(pickle.Unpickler):
    """Unpickles dicts, lists, tuples, numbers, text and NumPy arrays; refuses other names without importing them."""

    _names = _allowed()

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._names[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}") from None


def read_npy(path: Path | Source) -> Any:
    """The object saved in a ``.npy`` file: an array, or the content of a 0-d object array.

    Raises:
        WsssError: not a complete ``.npy`` file, or one with more than numbers, text and arrays in containers.
    """
    content = read_bytes(path)
    file = BytesIO(content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NumPy's warning about headers written by Python 2
            version = np.lib.format.read_magic(file)
            read_header = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }.get(version)
            if read_header is None:
                raise ValueError(f"version {version}")
            shape, _, dtype = read_header(file)
            if not dtype.hasobject:
                if math.prod(shape) * dtype.itemsize > len(content):  # before allocating memory
                    raise ValueError(f"its header promises an array of shape {shape}, which is not there")
                file.seek(0)
                return np.lib.format.read_array(file, allow_pickle=False)
            value = _ArraysOnly(file, encoding="latin1").load()
    except pickle.UnpicklingError as e:
        raise DataError(f"{path}: refused, its pickle contains more than arrays or is damaged: {e}") from None
    except Exception as e:  # a damaged pickle fails in many ways
        raise DataError(f"{path}: not a readable .npy file ({type(e).__name__}: {e}); save it again") from None
    return value.item() if isinstance(value, np.ndarray) and value.ndim == 0 else value
