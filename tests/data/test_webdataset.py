"""WebDataset tars, read in place."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from wsss_seed.data import open_dataset
from wsss_seed.data.images import content, fitting_suffix, image_size, reads_alike
from wsss_seed.data.webdataset import shards
from wsss_seed.errors import DataError, ImageError, WsssError
from wsss_seed.io.source import Source

CLASSES = "cat, dog"


def picture(value: int, format: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 3), (value, 0, 0)).save(buffer, format, **options)
    return buffer.getvalue()


def write(path: Path, members: dict[str, bytes], format: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w", format=format) as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


@pytest.fixture
def two(tmp_path: Path) -> Path:
    one = {f"n01/{i:04}.png": picture(i) for i in range(3)}
    one = {"__index__.json": b"{}", "n01/0000.cls": b"1", **one, "./n02/a.b.jpg": picture(9, "JPEG"), "only.txt": b"x"}
    write(tmp_path / "shard-008.tar", one)
    write(tmp_path / "shard-009.tar", {"é 1.JPG": picture(20), "é 1.json": b'{"caption": "no class", "label": "cat"}'})
    return tmp_path


def test_images_are_read_from_where_they_are(two: Path):
    data = open_dataset("webdataset", f"{two}/shard-{{008..009}}.tar", classes=CLASSES)
    assert data.ids == ["n01/0000", "n01/0001", "n01/0002", "é 1"]  # a.b.jpg is of the kind b.jpg
    assert [int(data.image(sample)[0, 0, 0]) for sample in data] == [0, 1, 2, 20]
    assert [sample.labels for sample in data] == [(1,), None, None, (0,)]
    assert {sample.image for sample in data} == {None}
    assert str(data[1].source) == f"{two}/shard-008.tar/n01/0001.png"
    assert (data.name, data.split, data.title) == ("webdataset", "all", "webdataset shard-008.tar and 1 more")
    assert data.passed_over == f"2 samples without an image ({two}/shard-008.tar/n02/a, {two}/shard-008.tar/only)"
    assert data.labels_source == f"{two}/shard-008.tar and 1 more"
    assert data.unlabelled == 2


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_and_every_kind_of_tar(tmp_path: Path, format: int):
    names = [f"{'x' * 60}/{'y' * 80}/{i}.png" for i in range(3)]
    write(tmp_path / "a.tar", {name: picture(i) for i, name in enumerate(names)}, format)
    data = open_dataset("webdataset", tmp_path / "a.tar", classes=CLASSES)
    assert data.ids == [name[:-4] for name in names]
    assert [int(data.image(sample)[0, 0, 0]) for sample in data] == [0, 1, 2]


def test_the_orientation_of_a_member_is_read(tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6
    write(tmp_path / "a.tar", {"a.jpg": picture(1, "JPEG", exif=exif)})
    data = open_dataset("webdataset", tmp_path / "a.tar", classes=CLASSES)
    assert data.orientation(data[0]) == 6
    assert data.upright(data[0]).shape == (4, 3, 3)


def test_an_image_is_read_once_for_all_that_is_asked_of_it(tmp_path: Path, monkeypatch):
    write(tmp_path / "a.tar", {"a.jpg": picture(1, "JPEG"), "b.webp": picture(2, "WEBP")})
    data = open_dataset("webdataset", tmp_path / "a.tar", classes=CLASSES)
    reads = []
    read = Source.read_bytes
    monkeypatch.setattr(Source, "read_bytes", lambda source: reads.append(source) or read(source))
    first, second = data
    assert (data.image(first).shape, data.orientation(first), image_size(first.file)) == ((3, 4, 3), 1, (4, 3))
    assert content(first.source) == picture(1, "JPEG")
    assert reads_alike(first.source, (4, 3))
    assert fitting_suffix(second.source) == ".webp"
    assert data.orientation(second) == 1
    assert reads == [first.source, second.source]


def test_the_first_kind_of_image_is_the_image(tmp_path: Path):
    write(tmp_path / "a.tar", {"a.png": picture(7), "a.seg.png": picture(8), "a.jpg": picture(9)})
    data = open_dataset("webdataset", tmp_path / "a.tar", classes=CLASSES)
    assert data[0].source.member == "a.jpg"


def test_a_damaged_member_fails_by_itself(tmp_path: Path):
    write(tmp_path / "a.tar", {"a.png": b"no image", "b.png": b"", "c.png": picture(3)})
    data = open_dataset("webdataset", tmp_path / "a.tar", classes=CLASSES)
    for sample, why in zip(data, ("not an image in", "empty file"), strict=False):
        with pytest.raises(ImageError, match=rf"a\.tar/{sample.id}\.png: {why}"):
            data.image(sample)
    assert data.image(data[2])[0, 0, 0] == 3
    (tmp_path / "a.tar").unlink()
    assert data.image(data[2])[0, 0, 0] == 3  # the last one is still known
    with pytest.raises(ImageError, match=r"a\.tar/a\.png: cannot be read \(No such file"):
        data.image(data[0])


def test_braces_are_those_of_shells(two: Path):
    names = [place.name for place in shards(two)]
    assert names == ["shard-008.tar", "shard-009.tar"]
    assert [place.name for place in shards(f"{two}/shard-00{{9,8}}.tar")] == ["shard-009.tar", "shard-008.tar"]
    assert [place.name for place in shards(f"{two}/shard-{{008..009}}.tar")] == names
    assert [str(place) for place in shards("s3://b/{a,b}-{9..11}.tar")] == [
        f"s3://b/{part}-{i}.tar" for part in "ab" for i in (9, 10, 11)
    ]
    (two / "shard-{a}.tar").touch()
    with pytest.raises(
        DataError, match=r"shard-010\.tar: no such file; give `root` a tar, a folder of tars or shard-{"
    ):
        shards(f"{two}/shard-{{008..010}}.tar")
    (two / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty: no \.tar in this folder"):
        shards(two / "empty")


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"a.png": b"1", "b.png": b"2", "b.cls": b"x"}, "a.tar/b: unknown class 'x'; known: cat, dog."),
        ({"a.png": b"1", "a.cls": b"7"}, "a.tar/a: class index 7 is out of range"),
        ({"a.png": b"1", "a.json": b"{"}, "a.tar/a.json: not readable (Expecting property name"),
        ({"a.png": b"1", "a.cls": b"\xff"}, "a.tar/a.cls: not readable ('utf-8' codec"),
        ({"a.png": b"1", "b.png": b"2", "a.jpg": b"3"}, "a.tar/a.jpg: image id 'a' is already given by"),
        ({"../a.png": b"1"}, "a.tar/../a.png: image id '../a' contains a '.' or '..' part"),
        ({"a.txt": b"1"}, "1 sample without an image ("),
        ({}, "a.tar: no image in 1 tars"),
    ],
)
def test_what_is_wrong_names_the_member(tmp_path: Path, members: dict[str, bytes], message: str):
    write(tmp_path / "a.tar", members)
    with pytest.raises(WsssError) as error:
        open_dataset("webdataset", tmp_path / "a.tar", classes=CLASSES)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_tars_that_are_none(tmp_path: Path):
    whole = write(tmp_path / "a.tar", {f"{i}.png": picture(i) for i in range(40)}).read_bytes()
    (tmp_path / "b.tar").write_bytes(whole[: len(whole) // 2 + 700])
    with tarfile.open(tmp_path / "c.tar", "w:gz") as tar:
        tar.add(tmp_path / "a.tar", "a.png")
    (tmp_path / "d.tar").write_bytes(b"no tar" * 400)
    for name in "bcd":
        with pytest.raises(DataError, match=rf"{name}\.tar: damaged, or not an uncompressed tar \("):
            open_dataset("webdataset", tmp_path / f"{name}.tar", classes=CLASSES)


BY_THE_LIBRARY = """
import json, sys
import numpy as np
import webdataset
with webdataset.ShardWriter(sys.argv[1] + "/made-%03d.tar", maxcount=4, verbose=0) as sink:
    for i in range(10):
        sink.write({"__key__": f"part.1/{i:06}", "png": np.full((3, 4, 3), i, np.uint8), "cls": i % 2})
data = webdataset.WebDataset(sys.argv[2], shardshuffle=False).decode("rgb8").to_tuple("__key__", "png", "cls")
print(json.dumps([[key, int(image[0, 0, 0]), label] for key, image, label in data]))
"""


def test_the_same_samples_as_by_the_library(tmp_path: Path):
    pytest.importorskip("webdataset")
    url = f"{tmp_path}/made-{{000..002}}.tar"
    command = [sys.executable, "-c", BY_THE_LIBRARY, str(tmp_path), url]  # a process of its own: it leaves files open
    theirs = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    ours = open_dataset("webdataset", url, classes=CLASSES)
    assert len(theirs) == 10
    assert [[s.id, int(ours.image(s)[0, 0, 0]), *s.labels] for s in ours] == theirs


def test_labels_of_json(tmp_path: Path):
    values = [{"cls": 1}, {"labels": ["dog", 0]}, {"label": "cat; dog"}, {"caption": "cat"}, [1]]
    members = {}
    for i, value in enumerate(values):
        members |= {f"{i}.json": json.dumps(value).encode(), f"{i}.png": picture(i)}
    data = open_dataset("webdataset", write(tmp_path / "a.tar", members), classes=CLASSES)
    assert [sample.labels for sample in data] == [(1,), (0, 1), (0, 1), None, None]


def test_a_source_is_part_of_a_file(tmp_path: Path):
    (tmp_path / "a").write_bytes(b"0123456789")
    source = Source(str(tmp_path / "a"), "b/c.png", 3, 4)
    assert source.read_bytes() == b"3456"
    assert Source(str(tmp_path / "a")).read_bytes() == b"0123456789"
    assert (source.name, source.stem, source.suffix) == ("c.png", "c", ".png")
