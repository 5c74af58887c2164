"""Small text files, whoever wrote them."""

from pathlib import Path

import pytest

from wsss_seed.errors import DataError
from wsss_seed.io.text import parse_toml, read_json, read_lines, read_text


@pytest.mark.parametrize("raw", [b"a\nb\n", b"a\r\nb\r\n", b"a\rb\r", b"\xef\xbb\xbfa\nb\n"])
def test_line_endings_and_byte_order_marks(tmp_path: Path, raw: bytes):
    (tmp_path / "a.txt").write_bytes(raw)
    assert read_text(tmp_path / "a.txt") == "a\nb\n"


def test_blank_lines_count_but_are_left_out(tmp_path: Path):
    (tmp_path / "a.txt").write_text("\n a \n\n\tb\n")
    assert list(read_lines(tmp_path / "a.txt")) == [(2, "a"), (4, "b")]


def test_what_is_wrong_names_the_file(tmp_path: Path):
    path = tmp_path / "a"
    with pytest.raises(DataError, match=r"a: cannot be read \(No such file"):
        read_text(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="a: not UTF-8 text; save it as UTF-8"):
        read_text(path)
    path.write_text("{")
    with pytest.raises(DataError, match="a: not valid JSON"):
        read_json(path)
    path.write_text("[" * 100_000)
    with pytest.raises(DataError, match="nested too deeply"):
        read_json(path)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a = ", "not valid TOML"),
        (f"a = {2**63}", "more than 64 bits"),
        ("a = " + "[" * 100 + "]" * 100, "nested too deeply"),
        ("a = " + "1" * 5000, "too many digits"),
    ],
)
def test_toml_that_is_refused(text: str, why: str):
    assert parse_toml("a = [1, {b = 2}]", "here") == {"a": [1, {"b": 2}]}
    with pytest.raises(DataError, match=f"here: not valid TOML.*{why}" if why != "not valid TOML" else why):
        parse_toml(text, "here")
