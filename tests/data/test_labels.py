"""Image-level labels in every form of the field."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from wsss_seed.data.classes import load_class_set
from wsss_seed.data.labels import find_image_labels, read_image_labels, read_voc_objects
from wsss_seed.errors import WsssError

VOC = load_class_set("voc")
COCO = load_class_set("coco")
IDS = ["2007_000032", "2010_005582", "2011_000001"]
WANT = {"2007_000032": (0, 14), "2010_005582": (4,)}


def hot(*classes: int, size: int = 20, dtype: type = np.float32) -> np.ndarray:
    vector = np.zeros(size, dtype)
    vector[list(classes)] = 1
    return vector


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


# ---- cls_labels.npy


@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.int64, bool])
@pytest.mark.parametrize("keys", [(IDS[0], IDS[1], "2000_000001"), (2007000032, 2010005582, 2000000001)])
def test_npy_with_text_and_number_keys(tmp_path: Path, dtype: type, keys: tuple):
    np.save(tmp_path / "a.npy", dict(zip(keys, (hot(0, 14, dtype=dtype), hot(4, dtype=dtype), hot(7)), strict=True)))
    assert read_image_labels(tmp_path / "a.npy", IDS, VOC) == WANT


def test_npy_with_background_first(tmp_path: Path):
    # Vectors of K + 1 values count background as index 0.
    np.save(tmp_path / "a.npy", {IDS[0]: hot(0, 1, 15, size=21, dtype=np.uint8), IDS[1]: hot(5, size=21)})
    assert read_image_labels(tmp_path / "a.npy", IDS, VOC) == WANT


def test_npy_with_keys_of_coco(tmp_path: Path):
    np.save(tmp_path / "a.npy", {9: hot(45, 49, size=80), "COCO_train2014_000000000025": hot(23, size=80)})
    for ids in (["000000000009", "000000000025"], ["COCO_train2014_000000000009", "COCO_train2014_000000000025"]):
        assert read_image_labels(tmp_path / "a.npy", ids, COCO) == {ids[0]: (45, 49), ids[1]: (23,)}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            {IDS[0]: hot(0, size=19)},
            r"entry '2007_000032': shape \(19,\) of float32; 20 classes need 20 numbers, or 21",
        ),
        ({IDS[0]: hot(0)[None]}, r"shape \(1, 20\)"),
        ({IDS[0]: "cat"}, "shape"),
        ({IDS[0]: [[1], [1, 2]]}, "not a vector"),
        ({IDS[0]: hot(0) * np.nan}, "values other than 0 and 1"),
        ({IDS[0]: hot(0) * 2}, "values other than 0 and 1"),
        ({(1, 2): hot(0)}, "must be text, or a number of at most 12 digits"),
        ({10**5000: hot(0)}, "must be text, or a number of at most 12 digits"),
        ({IDS[0]: [10**5000] * 20}, "shape .* of object"),
        ([hot(0)], "expected a dict"),
    ],
)
def test_npy_that_does_not_fit(tmp_path: Path, value: object, message: str):
    np.save(tmp_path / "a.npy", np.array(value, object) if isinstance(value, dict) else value)
    with pytest.raises(WsssError, match=message):
        read_image_labels(tmp_path / "a.npy", IDS, VOC)


# ---- text


@pytest.mark.parametrize(
    "text",
    [
        "2007_000032 0 14\n2010_005582 4\n",
        "\ufeff2007_000032 14 0 0\r\n\r\n2010_005582 4\r\n",
        "2007_000032 aeroplane person\n2010_005582 bottle",
        "2007_000032 airplane, Person\n2010_005582\tbottle",
        "JPEGImages/2007_000032.jpg 0 14\nJPEGImages/2010_005582.jpg 4",
        "2010005582 4\n/x/y/2007_000032.png background;aeroplane|14",
        "1999_000001 3\n2007_000032\t0 14\n2010_005582 4\n2010_005582 4",
    ],
)
def test_text_lists(tmp_path: Path, text: str):
    assert read_image_labels(write(tmp_path / "a.txt", text), IDS, VOC) == WANT


def test_text_list_of_clip_es_fits_both_names_of_a_coco_image(tmp_path: Path):
    path = write(
        tmp_path / "a.txt", "COCO_train2014_000000000009 45 49 50\ntrain2014/COCO_train2014_000000000025.jpg 23\n"
    )
    assert read_image_labels(path, ["000000000009", "COCO_train2014_000000000025"], COCO) == {
        "000000000009": (45, 49, 50),
        "COCO_train2014_000000000025": (23,),
    }


def test_text_list_with_spaces_in_ids_and_names(tmp_path: Path):
    path = write(tmp_path / "a.txt", "my photo.jpg traffic light\nmy other photo\tstop sign, 0\nplain\n")
    assert read_image_labels(path, ["my photo", "my other photo", "plain", "none"], COCO) == {
        "my photo": (9,),
        "my other photo": (0, 11),
        "plain": (),
    }


def test_ids_of_different_folders_are_different_images(tmp_path: Path):
    path = write(tmp_path / "a.txt", "/y/root/a/x.jpg 1\nb/x 2\nx 3\n./d.jpg 4\nroot/root/e 5\n")
    others: list[str] = []
    found = read_image_labels(path, ["a/x", "b/x", "c/x", "d", "root/e"], VOC, folder="root", unmatched=others)
    assert found == {"a/x": (1,), "b/x": (2,), "d": (4,), "root/e": (5,)}
    assert others == ["x"]


def test_an_image_of_another_folder_labels_none_of_the_same_name(tmp_path: Path):
    path = write(tmp_path / "a.csv", "image,label\nb/a.jpg,1\nphotos/c.jpg,2\nsofa.jpg,3\n")
    others: list[str] = []
    assert read_image_labels(path, ["a", "c"], VOC, folder="photos", unmatched=others) == {"c": (2,)}
    assert others == ["b/a.jpg", "sofa.jpg"]
    assert read_image_labels(path, ["a", "c"], VOC) == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2007_000032 20", r"line 1: class index 20 is out of range; 20 classes have the indices 0\.\.19"),
        ("a 1\n2007_000032 -1", "line 2: class index -1 is out of range"),
        ("2007_000032 " + "1" * 5000, "line 1: a class index of 5000 digits is out of range"),
        ("unknown_image 99", "class index 99"),
        ("2007_000032 aeroplain", "unknown class 'aeroplain'.*Did you mean 'aeroplane'"),
        ("a 1\na 2", "line 2: duplicate id 'a'"),
    ],
)
def test_bad_text_lists(tmp_path: Path, text: str, message: str):
    with pytest.raises(WsssError, match=message) as e:
        read_image_labels(write(tmp_path / "a.txt", text), IDS, VOC)
    assert str(tmp_path / "a.txt") in str(e.value)


# ---- CSV


@pytest.mark.parametrize(
    "text",
    [
        "image,label\n2007_000032,aeroplane;person\n2010_005582,bottle\n",
        "id,labels\n2007_000032,aeroplane|14\n2010_005582,4\n",
        "image,label\r\n2007_000032.jpg,0 14\r\n2010_005582.jpg,bottle\r\n",
        'filename,split,classes\n2007_000032,train,"aeroplane, person"\n2010_005582,val,bottle\n',
        "image;label\n2007_000032;aeroplane,person\n2010_005582;bottle\n",
        "image\tlabel\n2007_000032\taeroplane\n2010_005582\tbottle\n2007_000032\tperson\n",
        "image,person,aeroplane,bottle\n2007_000032,1,1.0,0\n2010_005582,0,false,true\n",
    ],
)
def test_csv(tmp_path: Path, text: str):
    assert read_image_labels(write(tmp_path / "a.csv", text), IDS, VOC) == WANT


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no header line"),
        ("2007_000032,cat\n", "no header line"),
        ("image,label\n2007_000032,cta\n", "line 2: unknown class 'cta'"),
        ("image,label\n2007_000032,cat,dog\n", "line 2: 3 cells under 2 columns"),
        ("image,cat,zebra\n2007_000032,1,0\n", "header: unknown class 'zebra'"),
        ("image,cat\n2007_000032,0.5\n", "line 2: '0.5' in the column of a class"),
        ('image,label\n"2007_000032,cat\n', "not valid CSV"),
    ],
)
def test_bad_csv(tmp_path: Path, text: str, message: str):
    with pytest.raises(WsssError, match=message):
        read_image_labels(write(tmp_path / "a.csv", text), IDS, VOC)


# ---- JSON and XML


def test_json(tmp_path: Path):
    path = write(
        tmp_path / "a.json", json.dumps({"2007_000032": ["aeroplane", 14], "2010005582": "bottle", "other": []})
    )
    assert read_image_labels(path, IDS, VOC) == WANT


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": [20]}, "entry 'a': class index 20"),
        ({"a": ["zebra"]}, "entry 'a': unknown class 'zebra'"),
        ({"a": [True]}, "neither a class name nor an index"),
        ({"a": [1.5]}, "neither"),
        ({"a": None}, "neither"),
        ([1], "not contain a JSON object"),
        ({"images": [], "annotations": [{}]}, "not COCO instances"),
    ],
)
def test_bad_json(tmp_path: Path, value: object, message: str):
    with pytest.raises(WsssError, match=message):
        read_image_labels(write(tmp_path / "a.json", json.dumps(value)), IDS, VOC)
    with pytest.raises(WsssError, match="not valid JSON"):
        read_image_labels(write(tmp_path / "a.json", "{"), IDS, VOC)


INSTANCES = {
    "categories": [{"id": 1, "name": "person"}, {"id": 5, "name": "airplane"}, {"id": 24, "name": "zebra"}],
    "images": [{"id": 7, "file_name": "2007_000032.jpg"}, {"id": 8, "file_name": "2010_005582.jpg"}],
    "annotations": [{"image_id": 7, "category_id": c} for c in (5, 1, 1, 24)],
}


def test_coco_instances_as_labels_of_another_class_set(tmp_path: Path):
    path = write(tmp_path / "a.json", json.dumps(INSTANCES))
    assert read_image_labels(path, IDS, VOC) == {"2007_000032": (0, 14), "2010_005582": ()}
    with pytest.raises(WsssError, match="none of its categories"):
        read_image_labels(path, IDS, load_class_set("snail,"))


def annotation(*names: str) -> str:
    objects = "".join(
        f"<object><name>{n}</name><part><name>head</name></part><difficult>1</difficult><bndbox><xmin>1</xmin>"
        "<ymin>2</ymin><xmax>10</xmax><ymax>20</ymax></bndbox></object>"
        for n in names
    )
    return f"<annotation><filename>x.jpg</filename>{objects}</annotation>"


def test_voc_annotations(tmp_path: Path):
    write(tmp_path / f"{IDS[0]}.xml", annotation("person", "aeroplane", "person"))
    write(tmp_path / f"{IDS[1]}.xml", annotation("bottle"))
    assert read_image_labels(tmp_path, IDS, VOC) == WANT
    assert read_image_labels(tmp_path, IDS, load_class_set("person,")) == {IDS[0]: (0,), IDS[1]: ()}
    with pytest.raises(WsssError, match="none of the objects"):
        read_image_labels(tmp_path, IDS, load_class_set("snail,"))
    write(tmp_path / f"{IDS[2]}.xml", "<annotation><object>")
    with pytest.raises(WsssError, match=r"2011_000001\.xml: not a VOC annotation"):
        read_image_labels(tmp_path, IDS, VOC)


def test_unknown_forms(tmp_path: Path):
    with pytest.raises(WsssError, match="no such label file"):
        read_image_labels(tmp_path / "a.txt", IDS, VOC)
    with pytest.raises(WsssError, match=r"unknown format of label file '\.xlsx'"):
        read_image_labels(write(tmp_path / "a.xlsx", ""), IDS, VOC)


# ---- auto


def test_auto_goes_by_the_documented_order(tmp_path: Path):
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "annotations").mkdir(exist_ok=True)  # one and the same where file names ignore case
    write(tmp_path / "Annotations" / f"{IDS[0]}.xml", annotation("cow"))
    write(tmp_path / "annotations" / "instances_x.json", json.dumps(INSTANCES))
    write(tmp_path / "labels.txt", f"{IDS[0]} 3")
    write(tmp_path / "labels.csv", f"image,label\n{IDS[0]},4")
    write(tmp_path / "image_labels.json", json.dumps({IDS[0]: [5]}))
    write(tmp_path / "cls_labels.txt", f"{IDS[0]} 6")
    np.save(tmp_path / "cls_labels.npy", {IDS[0]: hot(7)})
    for name, want in (
        ("cls_labels.npy", (7,)),
        ("cls_labels.txt", (6,)),
        ("image_labels.json", (5,)),
        ("labels.csv", (4,)),
        ("labels.txt", (3,)),
        ("annotations/instances_x.json", (0, 14)),
        ("Annotations", (9,)),
    ):
        labels, source = find_image_labels([tmp_path / "nothing", tmp_path], IDS, VOC)
        assert source == tmp_path / name
        assert labels[IDS[0]] == want
        (tmp_path / name).rename(tmp_path / "used") if name == "Annotations" else (tmp_path / name).unlink()
    assert find_image_labels([tmp_path], IDS, VOC) == ({}, None)


def test_auto_passes_over_what_knows_no_image_and_stops_at_what_does_not_fit(tmp_path: Path):
    write(tmp_path / "cls_labels.txt", "other 1")
    write(tmp_path / "labels.txt", f"{IDS[0]} 3")
    assert find_image_labels([tmp_path], IDS, VOC) == ({IDS[0]: (3,)}, tmp_path / "labels.txt")
    write(tmp_path / "labels.csv", "image,label\nx,zebra")
    with pytest.raises(WsssError, match=r"labels\.csv, line 2: unknown class 'zebra'.*`labels` none"):
        find_image_labels([tmp_path], IDS, VOC)


def test_an_id_of_many_digits_is_another_image(tmp_path: Path):
    path = tmp_path / "labels.txt"
    path.write_text(f"{'1' * 5000} 1\n2007_000032 2\n")
    assert read_image_labels(path, ["2007_000032", "2007_000033"], VOC) == {"2007_000032": (2,)}


@pytest.mark.parametrize("text", ["[" * 100_000, '{"2007_000032": [' + "1" * 5000 + "]}"], ids=["nested", "digits"])
def test_json_that_python_cannot_read_is_one_line(tmp_path: Path, text: str):
    path = tmp_path / "labels.json"
    path.write_text(text)
    with pytest.raises(
        WsssError, match=r"labels\.json: not valid JSON \((nested too deeply|a whole number of too many)"
    ):
        read_image_labels(path, IDS, VOC)


def test_a_box_without_end_is_refused(tmp_path: Path):
    path = tmp_path / "a.xml"
    box = f"<xmin>1</xmin><ymin>1</ymin><xmax>{'1' * 5000}</xmax><ymax>5</ymax>"
    path.write_text(f"<annotation><object><name>cat</name><bndbox>{box}</bndbox></object></annotation>")
    with pytest.raises(WsssError, match=r"a\.xml: .* is empty, incomplete or infinite"):
        read_voc_objects(path)
