"""Any folder tree of images as a dataset, and how datasets are opened."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from tests.data.photographs import photo, refused
from tests.io.object_storage import bucket, s3, s3_server  # noqa: F401
from wsss_seed.data import DATASETS, load_class_set, open_dataset
from wsss_seed.data.folder import ImagesAndMasks
from wsss_seed.errors import DataError, ImageError, WsssError


def test_a_tree_is_listed_by_id(tmp_path: Path):
    for name in ("b.JPG", "sub/b.png", "a.jpeg", "sub/deep/été 1.webp", "Z.bmp", "y.tif", "y2.TIFF", "x.y.png"):
        photo(tmp_path / name)
    for name in (".hidden.jpg", ".cache/c.jpg"):
        photo(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    d = open_dataset("folder", tmp_path, classes="cat, dog")
    assert [s.id for s in d] == ["Z", "a", "b", "sub/b", "sub/deep/été 1", "x.y", "y", "y2"]
    assert [d.image(s).shape for s in d] == [(3, 4, 3)] * 8
    assert (d.name, d.split, d.labels_source, d.has_masks) == ("folder", "all", None, False)
    assert {s.labels for s in d} == {None}
    assert d.mask(d[0]) is d.boxes(d[0]) is None
    assert list(d) == list(d)  # can be read again


def test_what_bears_an_images_suffix_fails_by_itself(tmp_path: Path):
    photo(tmp_path / "good.jpg")
    photo(tmp_path / "x.jpg" / "inside.jpg")
    (tmp_path / "broken.png").symlink_to("nowhere.png")
    (tmp_path / "empty.png").touch()
    d = open_dataset("folder", tmp_path, classes="cat, dog")
    assert [s.id for s in d] == ["broken", "empty", "good", "x"]
    for i in (0, 1, 3):
        with pytest.raises(ImageError):
            d.image(d[i])
    assert d.image(d[2]).shape == (3, 4, 3)


def test_names_that_some_file_systems_take_for_the_same(tmp_path: Path):
    for name in ("a.jpg", "A.jpg", "a.tif", "Straße.jpg", "STRASSE.jpg", "\u00e9.jpg", "e\u0301.jpg", "b.jpg"):
        photo(tmp_path / name)
    if len(list(tmp_path.iterdir())) < 8:
        pytest.skip("this file system takes them for the same")
    errors = refused(tmp_path)
    assert len(errors) == 7
    assert "A.jpg (and 1 more) has the same name" in errors["a.tif"]
    assert r"'e\u0301.jpg' has the same name" in errors["\u00e9.jpg~2"]  # they look the same


@pytest.mark.parametrize(
    ("name", "id"),
    [
        ("a\nb.jpg", "a%0Ab.jpg"),
        ("a\\b.jpg", "a%5Cb.jpg"),
        ("a .jpg", "a .jpg"),
        (" a.jpg", "%20a.jpg"),
        (b"a\xff.jpg", "a%FF.jpg"),
        ("a:b%.jpg", "a%3Ab%25.jpg"),
        ("what?.jpg", "what%3F.jpg"),
        ("a..jpg", "a..jpg"),
        ("con.jpg", "%63on.jpg"),
        ("COM1.final.jpg", "%43OM1.final.jpg"),
        ("nul /a.jpg", "%6Eul%20/a.jpg"),
        ("old./a.jpg", "old%2E/a.jpg"),
        ("a\u2028b.jpg", "a%E2%80%A8b.jpg"),
    ],
)
def test_names_that_cannot_be_ids(tmp_path: Path, name: str | bytes, id: str):
    photo(tmp_path / "good.jpg")
    path = os.path.join(os.fsencode(tmp_path), os.fsencode(name))
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        shutil.copy(tmp_path / "good.jpg", path)
    except OSError:
        pytest.skip("this file system does not take the name")
    errors = refused(tmp_path)
    assert list(errors) == [id]
    assert errors[id].isascii()
    assert {s.id for s in open_dataset("folder", tmp_path, classes="cat,")} == {id, "good"}


def test_long_names(tmp_path: Path):
    longest, odd = "x" * 251, ":" * 120
    for name in (longest, odd):
        try:
            photo(tmp_path / f"{name}.jpg")
        except OSError:
            pytest.skip("this file system does not take the name")
    errors = refused(tmp_path)
    [id] = errors
    assert re.fullmatch(r"(%3A)+[%3A]*~[0-9a-f]{8}", id)
    assert len(id) < 250


def test_labels_beside_a_folder(tmp_path: Path):
    for name in ("a.jpg", "s/b.jpg", "c.jpg"):
        photo(tmp_path / name)
    (tmp_path / "labels.csv").write_text("image,label\na.jpg,cat\ns/b.jpg,dog;cat\n")
    d = open_dataset("folder", tmp_path, classes="cat, dog")
    assert [(s.id, s.labels) for s in d] == [("a", (0,)), ("c", None), ("s/b", (0, 1))]
    assert d.labels_source == str((tmp_path / "labels.csv").resolve())
    assert open_dataset("folder", tmp_path, classes="cat, dog", labels="none").labels_source is None
    other = tmp_path / "other.json"
    other.write_text(json.dumps({"c": ["dog"]}))
    d = open_dataset("folder", tmp_path, classes="cat, dog", labels=other)
    assert [s.labels for s in d] == [None, (1,), None]
    assert d.unlabelled == 2
    other.write_text(json.dumps({"elsewhere": ["dog"]}))
    with pytest.raises(WsssError, match="knows none of the 3 images, such as 'a'"):
        open_dataset("folder", tmp_path, classes="cat, dog", labels=other)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "vco"}, "unknown dataset 'vco'; known: coco, folder, toyland, voc, webdataset. Did you mean 'voc'"),
        ({"name": "voc"}, "dataset voc needs the folder it is in; give `root`"),
        ({"name": "coco"}, "give `root`"),
        ({"name": "folder", "classes": "cat,"}, "give `root`"),
        ({"name": "folder", "root": "."}, "folder needs class names"),
        ({"name": "folder", "root": "nowhere", "classes": "cat,"}, "nowhere: no such folder"),
        ({"name": "folder", "root": ".", "classes": "cat,"}, "no image below it; known suffixes are .jpg"),
        ({"name": "folder", "root": __file__, "classes": "cat,"}, "test_folder.py: a file, not a folder"),
        ({"name": "folder", "root": ".", "classes": "cat,", "split": "val"}, "a folder has no split 'val'"),
        ({"name": "folder", "root": ".", "classes": "cat,", "images": 3}, "`images` is for toyland"),
        ({"name": "voc", "root": "nowhere"}, "nowhere: no such folder"),
        ({"name": "voc", "root": "."}, "not in VOC layout"),
        ({"name": "coco", "root": "."}, "no annotations/instances_<split>.json"),
        ({"name": "coco", "root": "nowhere"}, "nowhere: no such folder"),
        ({"name": "toyland", "root": "."}, "toyland is drawn and has no folder"),
        ({"name": "toyland", "split": "tset"}, "unknown split of toyland 'tset'"),
        ({"name": "toyland", "images": 0}, "draw at least 1"),
        ({"name": "toyland", "seed": -1}, "seed -1 of toyland is out of range"),
        ({"name": "toyland", "classes": "voc"}, "class set 'voc' does not have toyland's classes"),
        ({"name": "toyland", "labels": "nothing.txt"}, "nothing.txt: no such label file"),
    ],
)
def test_unusable_input_is_answered_in_one_line(tmp_path: Path, monkeypatch, options: dict, message: str):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WsssError) as e:
        open_dataset(**options)
    assert message in str(e.value)
    assert "\n" not in str(e.value)


def test_a_folder_is_named_as_the_user_named_it(tmp_path: Path, monkeypatch):
    (tmp_path / "my photos").mkdir()
    Image.new("RGB", (4, 3)).save(tmp_path / "my photos/a.png")
    assert open_dataset("folder", tmp_path / "my photos", classes="cat,").title == "folder my photos"
    monkeypatch.chdir(tmp_path)
    assert open_dataset("folder", ".", classes="cat,").title == "folder ."
    assert open_dataset("toyland", images=1).title == "toyland test"


def test_opening_a_dataset_loads_no_torch():
    code = (
        "import sys; from wsss_seed.data import open_dataset; from wsss_seed.data.check import check_dataset\n"
        "check_dataset(open_dataset('toyland', images=1))\n"
        "print([m for m in ('torch', 'pycocotools', 'cv2') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_every_dataset_is_described():
    assert set(DATASETS) == {"voc", "coco", "folder", "webdataset", "toyland"}


def test_images_and_masks_in_two_folders(tmp_path: Path):
    images, masks = tmp_path / "images", tmp_path / "masks"
    for name in ("a.jpg", "b/c.png", "d.png"):
        (images / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 3)).save(images / name)
    cats = load_class_set("cat, dog")
    with pytest.raises(DataError, match="no such folder"):
        ImagesAndMasks(images, masks, cats)
    (masks / "b").mkdir(parents=True)
    with pytest.raises(DataError, match=r"no label map of the 3 images in .*; that of 'a' is to be called a\.png"):
        ImagesAndMasks(images, masks, cats)
    for name in ("a.png", "b/c.png", "other.png"):
        Image.new("L", (4, 3), 2).save(masks / name)
    data = ImagesAndMasks(images, masks, cats)
    assert [sample.id for sample in data] == ["a", "b/c"]
    assert data.has_masks
    assert all((data.mask(sample) == 2).all() and data.image(sample).shape == (3, 4, 3) for sample in data)
    assert data.passed_over == f"1 of 3 images in {images} have no label map in {masks}"


def test_a_folder_behind_a_url(bucket: str, tmp_path: Path):  # noqa: F811
    import fsspec

    for name in ("a.jpg", "s/b.png", "s/B.PNG", "out/SegmentationClass/x.png"):
        photo(tmp_path / name)
    content = {
        f"{bucket}/photos/{path.relative_to(tmp_path).as_posix()}": path.read_bytes()
        for path in tmp_path.rglob("*.*")
        if path.is_file()
    }
    content |= {
        f"{bucket}/photos/.hidden/x.jpg": b"",
        f"{bucket}/photos/notes.md": b"",
        f"{bucket}/photos/torn.jpg": b"torn",
        f"{bucket}/photos/out/run.json": b"{}",
        f"{bucket}/photos/labels.csv": b"image,label\na.jpg,cat\nphotos/torn.jpg,dog\n",
        f"{bucket}/classes.txt": b"cat\ndog: dog, puppy\n",
        f"{bucket}/labels.json": b'{"torn.jpg": "cat"}',
    }
    system = fsspec.filesystem("s3")
    system.pipe(content)
    data = open_dataset("folder", f"{bucket}/photos", classes=f"{bucket}/classes.txt")
    assert data.ids == ["a", "s/B.PNG", "s/b.png~2", "torn"]
    assert {sample.image for sample in data} == {None}
    assert data.image(data[0]).shape == (3, 4, 3)
    assert data.orientation(data[0]) == 1
    assert data.class_set.phrases[1] == ("dog", "puppy")
    assert [sample.labels for sample in data] == [(0,), None, None, (1,)]
    assert data.labels_source == f"{bucket}/photos/labels.csv"
    assert data.passed_over == "2 files passed over: 1 .csv, 1 .md"
    assert data.title == "folder photos"
    with pytest.raises(ImageError, match=rf"{bucket}/photos/torn\.jpg: not an image"):
        data.image(data[3])
    with pytest.raises(ImageError, match=rf"{bucket}/photos/s/b\.png: s/B\.PNG has the same name"):
        data.image(data[2])
    other = open_dataset("folder", f"{bucket}/photos", classes="cat, dog", labels=f"{bucket}/labels.json")
    assert [sample.labels for sample in other] == [None, None, None, (0,)]
    system.rm(f"{bucket}/photos/a.jpg")
    with pytest.raises(ImageError, match=rf"{bucket}/photos/a\.jpg: cannot be read \(no such file, folder or bucket\)"):
        open_dataset("folder", f"{bucket}/photos", classes="cat, dog").image(other[0])


def test_urls_that_cannot_be_read(bucket: str):  # noqa: F811
    for options, message in (
        ({"root": "s3://no-such-bucket/photos"}, r"s3://no-such-bucket/photos: no such folder or bucket"),
        ({"root": f"{bucket}/photos"}, f"{bucket}/photos: no such folder or bucket"),
        ({"root": "nope://x/photos"}, r"nope://x/photos: cannot be listed \(not a URL that fsspec reads \(Protocol"),
        ({"root": "memory://x", "classes": f"{bucket}/c.txt"}, rf"{bucket}/c\.txt: cannot be read \(no such file"),
        ({"name": "voc", "root": f"{bucket}/VOC"}, f"{bucket}/VOC: dataset voc is read from a local folder; URLs are"),
    ):
        with pytest.raises(WsssError, match=message):
            open_dataset(**{"name": "folder", "classes": "cat, dog", **options})


def test_a_list_and_tars_behind_urls(bucket: str, tmp_path: Path):  # noqa: F811
    import fsspec

    image = photo(tmp_path / "a.jpg").read_bytes()
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.add(tmp_path / "a.jpg", "n1/a.jpg")
    system = fsspec.filesystem("s3")
    names = {"a.jpg": image, "s/b#1.jpg": image, "list.txt": b"s/b#1.jpg\na.jpg\n" + f"{bucket}/in/a.jpg".encode()}
    system.pipe({f"{bucket}/in/{name}": content for name, content in names.items()})
    system.put(str(tmp_path / "a.tar"), f"{bucket}/in/part-0.tar")
    with pytest.raises(DataError, match=r"row 3|line 3: image id 'a' is already given by .*list\.txt, line 2"):
        open_dataset("folder", list=f"{bucket}/in/list.txt", classes="cat, dog")
    local = tmp_path / "list.csv"
    local.write_text(f"url,labels\n{bucket}/in/s/b#1.jpg,dog\na.jpg,cat\nmemory://none/c.png,\n")
    data = open_dataset("folder", list=local, classes="cat, dog")
    assert data.ids == ["in/s/b#1", "a", "c"]
    assert [sample.labels for sample in data] == [(1,), (0,), ()]
    assert [sample.image for sample in data] == [None, tmp_path / "a.jpg", None]
    assert data.image(data[0]).shape == data.image(data[1]).shape == (3, 4, 3)
    with pytest.raises(ImageError, match=r"memory://none/c\.png: cannot be read \(no such file"):
        data.image(data[2])
    local.write_text("path\ns/b#1.jpg\na.jpg\n")
    assert open_dataset("folder", f"{bucket}/in", list=local, classes="cat, dog").ids == ["s/b#1", "a"]
    tars = open_dataset("webdataset", f"{bucket}/in/part-{{0..0}}.tar", classes="cat, dog")
    assert tars.ids == ["n1/a"]
    assert tars.image(tars[0]).shape == (3, 4, 3)
