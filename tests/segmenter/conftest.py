"""A small world to train on."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsss_seed.data.toyland.tree import write_tree


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("toyland") / "tree"
    write_tree(folder, "train", 12, 0)
    write_tree(folder, "val", 4, 0)
    return folder
