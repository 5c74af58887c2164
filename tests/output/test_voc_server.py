"""The archive for the VOC server, read back with the libraries that unpack it."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsss_seed.data.classes import load_class_set, voc_palette
from wsss_seed.errors import WsssError
from wsss_seed.io.png import write_mask
from wsss_seed.output.run_folder import mask_path
from wsss_seed.output.voc_server import pack

VOC = load_class_set("voc")
IDS = ("2008_000009", "2008_000006", "2008_000011")
GREY = tuple((i, i, i) for i in range(256))


def label_map(index: int) -> np.ndarray:
    labels = np.random.default_rng(index).integers(0, 21, (30 + index, 40)).astype(np.uint8)
    labels[:3] = 255 if index == 1 else 20
    return labels


@pytest.fixture
def run(tmp_path: Path) -> Path:
    for index, name in enumerate(IDS):
        write_mask(mask_path(tmp_path / "run", name, "flat"), label_map(index), GREY)
    return tmp_path / "run"


def test_nested_label_maps(run: Path, tmp_path: Path):
    nested = tmp_path / "nested"
    for index, name in enumerate(IDS):
        write_mask(mask_path(nested, name, "nested"), label_map(index), GREY)
    (nested / "run.json").write_text('{"layout": "nested"}')
    pack(run, tmp_path / "flat.tar", VOC, IDS)
    pack(nested, tmp_path / "nested.tar", VOC, IDS)
    assert (tmp_path / "nested.tar").read_bytes() == (tmp_path / "flat.tar").read_bytes()


def read_back(path: Path) -> dict[str, bytes]:
    """Every member of an archive, by name."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None
            return {name: archive.read(name) for name in archive.namelist()}
    with tarfile.open(path) as archive:
        return {m.name: archive.extractfile(m).read() for m in archive.getmembers() if m.isfile()}


@pytest.mark.parametrize("suffix", [".tar.gz", ".tgz", ".tar", ".zip"])
@pytest.mark.parametrize("competition", ["comp5", "comp6"])
def test_layout_and_pixels(run: Path, tmp_path: Path, suffix: str, competition: str):
    out = tmp_path / "new" / f"results{suffix}"
    package = pack(run, out, VOC, IDS, competition)
    assert (package.images, package.with_ignore) == (3, 1)
    members = read_back(out)
    assert list(members) == [f"results/VOC2012/Segmentation/{competition}_test_cls/{name}.png" for name in sorted(IDS)]
    for index, name in enumerate(IDS):
        with Image.open(io.BytesIO(members[f"results/VOC2012/Segmentation/{competition}_test_cls/{name}.png"])) as png:
            assert (png.format, png.mode) == ("PNG", "P")
            palette = np.array(png.getpalette()).reshape(256, 3)
            assert np.array_equal(palette, np.array(voc_palette()))
            expected = label_map(index)
            expected[expected == 255] = 0
            assert np.array_equal(np.asarray(png), expected)


@pytest.mark.parametrize("suffix", [".tar.gz", ".tar", ".zip"])
def test_the_same_masks_give_the_same_bytes(run: Path, tmp_path: Path, suffix: str):
    first, second = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    pack(run, first, VOC, IDS)
    pack(run, second, VOC, IDS[::-1])
    assert first.read_bytes() == second.read_bytes()


def test_the_whole_archive_or_none(run: Path, tmp_path: Path):
    out = tmp_path / "results.tar.gz"
    mask_path(run, IDS[1], "flat").write_bytes(b"no png")
    with pytest.raises(WsssError, match=IDS[1]):
        pack(run, out, VOC, IDS)
    mask_path(run, IDS[1], "flat").unlink()
    with pytest.raises(WsssError, match=rf"1 of 3 images have no label map, {IDS[1]}"):
        pack(run, out, VOC, IDS)
    write_mask(mask_path(run, IDS[1], "flat"), np.full((4, 4), 21, np.uint8), voc_palette())
    with pytest.raises(WsssError, match="label 21"):
        pack(run, out, VOC, IDS)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize(
    ("name", "classes", "ids", "competition", "part"),
    [
        ("x.tar.gz", "toyland", IDS, "comp6", "not 'toyland'"),
        ("x.rar", "voc", IDS, "comp6", ".tar.gz"),
        ("x.zip", "voc", IDS, "comp7", "known: comp5, comp6"),
        ("x.zip", "voc", ("a/b",), "comp6", "a/b is no id of VOC"),
    ],
)
def test_wrong_usage(run: Path, tmp_path: Path, name, classes, ids, competition, part):
    with pytest.raises(WsssError) as caught:
        pack(run, tmp_path / name, load_class_set(classes), ids, competition)
    assert part in str(caught.value)
    assert not (tmp_path / name).exists()


def test_a_place_that_cannot_be_written(run: Path, tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WsssError, match="cannot be written"):
        pack(run, tmp_path / "file" / "x.zip", VOC, IDS)
