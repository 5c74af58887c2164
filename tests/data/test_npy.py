"""cls_labels.npy: arrays in a dict are read, and code in a pickle is not run."""

from __future__ import annotations

import io
import os
import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from wsss_seed.data.classes import load_class_set
from wsss_seed.data.labels import read_image_labels
from wsss_seed.data.npy import read_npy
from wsss_seed.errors import DataError, WsssError

VOC = load_class_set("voc")


IDS = ["2007_000032", "2010_005582", "2011_000001"]


WANT = {"2007_000032": (0, 14), "2010_005582": (4,)}


def hot(*classes: int, size: int = 20, dtype: type = np.float32) -> np.ndarray:
    vector = np.zeros(size, dtype)
    vector[list(classes)] = 1
    return vector


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_npy_of_every_pickle_protocol(tmp_path: Path, protocol: int):
    table = np.empty((), object)
    table[()] = {IDS[0]: hot(0, 14), np.int64(2010005582): hot(4), np.str_(IDS[2]): hot()}
    with open(tmp_path / "a.npy", "wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(table))
        pickle.dump(table, file, protocol=protocol)
    assert read_image_labels(tmp_path / "a.npy", IDS, VOC) == {**WANT, IDS[2]: ()}


class Attack:
    def __reduce__(self):
        return (os.mkdir, ("pwned",))


class Sneaky:
    def __reduce__(self):
        return (getattr, ({}, "get"))


@pytest.mark.parametrize(
    "value", [Attack(), {"a": Attack()}, {"a": [Sneaky()]}, {"a": np.array([Attack()], object)}, OrderedDict(a=1)]
)
@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_malicious_npy_is_refused_before_anything_runs(tmp_path: Path, monkeypatch, value: object, protocol: int):
    monkeypatch.chdir(tmp_path)
    table = np.empty((), object)
    table[()] = value
    with open("a.npy", "wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(table))
        pickle.dump(table, file, protocol=protocol)
    with pytest.raises(WsssError, match=r"a.npy: refused, its pickle contains more than arrays"):
        read_image_labels(Path("a.npy"), IDS, VOC)
    assert not Path("pwned").exists()
    if isinstance(value, Attack):
        # The file does attack who loads it as usual.
        np.load("a.npy", allow_pickle=True)
        assert Path("pwned").exists()


def test_damaged_npy(tmp_path: Path):
    buffer = io.BytesIO()
    np.save(buffer, {i: hot(3) for i in IDS}, allow_pickle=True)
    path = tmp_path / "a.npy"
    for keep in (0, 3, 20, 100, 150, 200, len(buffer.getvalue()) - 1):
        path.write_bytes(buffer.getvalue()[:keep])
        with pytest.raises(WsssError, match=r"a\.npy"):
            read_image_labels(path, IDS, VOC)
    path.write_bytes(pickle.dumps({IDS[0]: hot(1)}))
    with pytest.raises(WsssError, match="not a readable"):
        read_image_labels(path, IDS, VOC)


@pytest.mark.parametrize("shape", ["(1000000000000,)", "(20, 99999999999)"])
def test_a_header_that_promises_more_than_there_is_is_refused_before_memory_is_allocated(tmp_path: Path, shape: str):
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}"
    header = header.ljust(117) + "\n"
    path = tmp_path / "labels.npy"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + bytes(80))
    with pytest.raises(WsssError, match=r"labels\.npy: not a readable .npy file \(ValueError: its header promises"):
        read_image_labels(path, IDS, VOC)


def test_plain_arrays_and_objects_come_back(tmp_path: Path):
    path = tmp_path / "a.npy"
    for value in (np.arange(6, dtype=np.int16).reshape(2, 3), np.array(["a", "bc"]), np.zeros((0, 4))):
        np.save(path, value)
        found = read_npy(path)
        np.testing.assert_array_equal(found, value)
        assert found.dtype == value.dtype
    np.save(path, {"a": [1, (2.5, None, True)], b"b": np.float32(0.5)}, allow_pickle=True)
    assert read_npy(path) == {"a": [1, (2.5, None, True)], b"b": np.float32(0.5)}
    np.save(path, np.float64(3.5))
    assert read_npy(path) == 3.5


def test_names_that_only_look_like_numpys_are_refused(tmp_path: Path):
    """Everything in NumPy's modules but what rebuilds arrays, such as the function that reads a file."""
    for name in (b"numpy\nload", b"numpy.core.multiarray\nfromfile", b"builtins\neval", b"numpy\nndarray.tofile"):
        data = b"c" + name + b"\n."
        with open(tmp_path / "a.npy", "wb") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
            file.write(data)
        with pytest.raises(DataError, match="refused, its pickle contains more than arrays"):
            read_npy(tmp_path / "a.npy")
