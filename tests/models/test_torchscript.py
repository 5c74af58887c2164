"""Archives of TorchScript are read as tensors, and nothing else in them is opened."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch

from wsss_seed.models.torchscript import is_torchscript, read_torchscript


class Tree(torch.nn.Module):
    """Modules in modules, a buffer, a view into a larger storage, and attributes that are no tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2)).half()
        self.register_buffer("resolution", torch.tensor(224))
        self.strided = torch.nn.Parameter(torch.randn(4, 6)[1:, ::2])
        self.sizes = [1, 2]
        self.names = {"a": 1.5}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x) * self.strided.sum() * self.sizes[0] * self.names["a"]


def test_tensors_are_those_of_torch_jit(tmp_path: Path):
    path = tmp_path / "tree.pt"
    torch.jit.save(torch.jit.script(Tree()), path)
    assert is_torchscript(path)
    want = torch.jit.load(path).state_dict()
    got = read_torchscript(path)
    assert got.keys() == want.keys()
    for name, tensor in want.items():
        assert got[name].dtype == tensor.dtype
        torch.testing.assert_close(got[name], tensor, rtol=0, atol=0)


def test_other_files_are_not_taken_for_archives(tmp_path: Path):
    torch.save({"a": torch.zeros(2)}, tmp_path / "weights.pt")
    (tmp_path / "text.pt").write_text("nothing")
    assert not is_torchscript(tmp_path / "weights.pt")
    assert not is_torchscript(tmp_path / "text.pt")


def test_code_in_an_archive_is_not_run(tmp_path: Path):
    class Evil:
        def __reduce__(self) -> tuple:
            return os.mkdir, (str(tmp_path / "harm"),)

    with zipfile.ZipFile(tmp_path / "evil.pt", "w") as archive:
        archive.writestr("evil/constants.pkl", b"")
        archive.writestr("evil/data.pkl", pickle.dumps(Evil(), protocol=2))
    with pytest.raises(pickle.UnpicklingError, match="mkdir"):
        read_torchscript(tmp_path / "evil.pt")
    assert not (tmp_path / "harm").exists()
