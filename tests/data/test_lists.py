"""Lists of images: text, CSV and parquet."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.data.photographs import photo
from wsss_seed.data import open_dataset
from wsss_seed.errors import DataError, UsageError, WsssError


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in ("a.jpg", "s/b.PNG", "s/c.jpg", "unlisted.jpg"):
        photo(tmp_path / "photos" / name)
    return tmp_path / "photos"


def opened(file: Path, **options):
    return open_dataset("folder", list=file, classes="cat, dog", **options)


def test_a_text_list_has_a_path_per_line_in_its_order(photos: Path):
    file = photos / "some.txt"
    file.write_text("\ufeffs/c.jpg\r\n\r\n  ./a.jpg \r\ns/b.PNG\r\n")
    data = opened(file)
    assert data.ids == ["s/c", "a", "s/b"]
    assert [sample.image for sample in data] == [photos / "s/c.jpg", photos / "a.jpg", photos / "s/b.PNG"]
    assert [data.image(sample).shape for sample in data] == [(3, 4, 3)] * 3
    assert (data.name, data.title, data.labels_source, data.passed_over) == ("folder", "list some.txt", None, "")


def test_paths_are_relative_to_root_if_that_is_given(photos: Path, tmp_path: Path, monkeypatch):
    file = tmp_path / "lists" / "some.txt"
    file.parent.mkdir()
    file.write_text(f"s/c.jpg\n{photos}/a.jpg\nfile://{photos}/s/b.PNG\n")
    ids = open_dataset("folder", photos, classes="cat, dog").ids
    assert opened(file, root=photos).ids == ["s/c", "a", "s/b"] == [ids[2], ids[0], ids[1]]
    monkeypatch.chdir(tmp_path)
    assert opened(Path("lists/some.txt"), root="photos").ids == ["s/c", "a", "s/b"]
    file.write_text("../photos/s/c.jpg\n")
    assert opened(file).ids == ["photos/s/c"]
    file.write_text(f"{photos}/a.jpg\n")
    assert opened(file).ids == [f"{photos}/a".lstrip("/")]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
def test_tables_have_ids_and_labels(photos: Path, suffix: str):
    rows = [("one", "a.jpg", "dog; cat"), ("", "s/b.PNG", "1"), ("x/two", "s/c.jpg", "")]
    file = photos / f"some{suffix}"
    if suffix == ".parquet":
        arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        columns = dict(zip(("id", "path", "labels"), zip(*rows, strict=True), strict=True))
        parquet.write_table(arrow.table(columns), file)
    else:
        mark = "," if suffix == ".csv" else "\t"
        lines = [("Id", "Path", "Labels"), *rows]
        file.write_text("".join(mark.join(f'"{cell}"' for cell in row) + "\n" for row in lines))
    data = opened(file)
    assert data.ids == ["one", "s/b", "x/two"]
    assert [sample.labels for sample in data] == [(0, 1), (1,), ()]
    assert data.labels_source == str(file.resolve())
    assert {sample.labels for sample in opened(file, labels="none")} == {None}
    other = photos / "other.json"
    other.write_text('{"one": ["cat"]}')
    assert [sample.labels for sample in opened(file, labels=other)] == [(0,), None, None]


def test_parquet_has_lists_of_labels_and_unknown_ones(photos: Path):
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    columns = {"file_name": ["a.jpg", "s/b.PNG", "s/c.jpg"], "label": [["dog", "cat"], None, []]}
    parquet.write_table(arrow.table(columns), photos / "some.parquet")
    data = opened(photos / "some.parquet")
    assert [sample.labels for sample in data] == [(0, 1), None, ()]
    assert data.unlabelled == 1
    parquet.write_table(arrow.table({"path": ["a.jpg"], "labels": [[1]]}), photos / "some.parquet")
    assert opened(photos / "some.parquet")[0].labels == (1,)
    (photos / "some.parquet").write_bytes(b"PAR1 damaged PAR1")
    with pytest.raises(DataError, match=r"some\.parquet: not readable as parquet \("):
        opened(photos / "some.parquet")


def test_labels_beside_the_list(photos: Path):
    (photos / "labels.csv").write_text("image,label\na.jpg,cat\n")
    (photos / "some.txt").write_text("s/c.jpg\na.jpg\n")
    assert [sample.labels for sample in opened(photos / "some.txt")] == [None, (0,)]
    assert [sample.labels for sample in opened(photos / "labels.csv")] == [(0,)]  # itself a list
    (photos / "some.txt").rename(photos / "labels.txt")  # a name of label files
    assert opened(photos / "labels.txt").labels_source is None


def test_rows_without_an_image_are_counted_and_named(photos: Path):
    file = photos / "some.txt"
    file.write_text("a.jpg\ngone.jpg\ns\nfile:///nowhere.jpg\n" + "".join(f"{i}.jpg\n" for i in range(4)))
    data = opened(file)
    assert data.ids == ["a"]
    assert data.passed_over == (
        f"{file}: 7 lines have no image (line 2: gone.jpg, line 3: s, line 4: file:///nowhere.jpg, line 5: 0.jpg, "
        "line 6: 1.jpg, ...)"
    )
    table = photos / "some.csv"
    table.write_text("path,id\na.jpg,\n,empty\n")
    assert opened(table).passed_over == f"{table}: 1 row has no image (row 3)"
    file.write_text("gone.jpg\n")
    with pytest.raises(DataError, match=r"1 line has no image \(line 1: gone.jpg\); relative paths are below .*photos"):
        opened(file)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "", "a.txt: no image"),
        ("a.txt", "a.jpg\ns/c.jpg\n./a.jpg\n", "a.txt, line 3: image id 'a' is already given by {}/a.txt, line 1;"),
        ("a.csv", "path,id\na.jpg,x/../y\n", "a.csv, row 2: image id 'x/../y' contains a '.' or '..' part"),
        ("a.csv", "picture,id\na.jpg,x\n", "a.csv: no column 'path'; its columns are picture, id"),
        ("a.csv", "", "a.csv: no column 'path'; its columns are missing"),
        ("a.csv", "path,id\na.jpg\n", "a.csv, row 2: 1 cells under 2 columns"),
        ("a.csv", 'path,id\n"a.jpg,x\n', "a.csv: not valid CSV (unexpected end of data)"),
        ("a.csv", "path,labels\na.jpg,cow\n", "a.csv, row 2: unknown class 'cow'; known: cat, dog."),
        ("a.csv", "path,labels\na.jpg,2\n", "a.csv, row 2: class index 2 is out of range"),
        ("a.xml", "a.jpg", "a.xml: unknown format of list '.xml'; known: .csv, .parquet, .tsv, .txt."),
    ],
)
def test_what_is_wrong_names_the_row(photos: Path, name: str, content: str, message: str):
    (photos / name).write_text(content)
    with pytest.raises(WsssError) as error:
        opened(photos / name)
    assert f"{photos}/{message.format(photos)}" in str(error.value)


def test_a_list_is_for_a_folder(photos: Path):
    (photos / "a.txt").write_text("a.jpg")
    with pytest.raises(UsageError, match="a `list` of images is for dataset folder; voc has its own"):
        open_dataset("voc", photos, list=photos / "a.txt")
    with pytest.raises(UsageError, match="dataset folder needs class names"):
        open_dataset("folder", list=photos / "a.txt")
    with pytest.raises(DataError, match=r"a\.txt: a file, not a folder; for a list of images, give `list`"):
        open_dataset("folder", photos / "a.txt", classes="cat,")
    with pytest.raises(DataError, match=r"b\.txt: cannot be read \(No such file"):
        opened(photos / "b.txt")
