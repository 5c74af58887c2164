"""The READMEs inside the package name files and functions that exist, and no docstring cites what a reader lacks."""

import ast
import io
import re
import tokenize
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "wsss_seed"
READMES = [PACKAGE / "README.md", PACKAGE / "seeding" / "README.md"]

# Sections of a note that is not part of the project, such as (A3.6), (B4, B5) or (T42).
SECTION = re.compile(r"\b[A-D]\d{1,2}\.\d{1,2}\b|(?:\(|, )[A-DT]\d{1,2}(?=[),;]| to [A-DT]\d)")


def quoted(text: str) -> list[str]:
    """What stands between backticks on one line."""
    return re.findall(r"`([^`\n]+)`", text)


def paths(text: str) -> list[str]:
    return [word for word in quoted(text) if re.fullmatch(r"[\w./-]+(\.py|\.toml|\.md|/)", word)]


def names(text: str) -> list[str]:
    """Functions, written with ``()``, and classes, in capitals and small letters."""
    found = [re.fullmatch(r"(?:[\w.]+\.)?(\w+)\(\)|([A-Z]\w*[a-z]\w*)", word) for word in quoted(text)]
    return [match[1] or match[2] for match in found if match]


def defined() -> set[str]:
    """The names of all functions, methods and classes of the package."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    trees = (ast.parse(path.read_text("utf-8")) for path in PACKAGE.rglob("*.py"))
    return {node.name for tree in trees for node in ast.walk(tree) if isinstance(node, kinds)}


def sections(source: str) -> list[str]:
    """The sections that comments and strings of a module cite."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    texts = [token.string for token in tokens if token.type in (tokenize.COMMENT, tokenize.STRING)]
    return [match[0] for text in texts for match in SECTION.finditer(text)]


@pytest.mark.parametrize("readme", READMES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_files_exist(readme):
    named = paths(readme.read_text("utf-8"))
    assert len(named) > 10
    assert [path for path in named if not (readme.parent / path).exists()] == []


@pytest.mark.parametrize("readme", READMES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_functions_and_classes_are_defined(readme):
    named = names(readme.read_text("utf-8"))
    assert len(named) > 10
    assert sorted(set(named) - defined()) == []


def test_no_section_of_an_absent_note_is_cited():
    found = {path.relative_to(PACKAGE).as_posix(): sections(path.read_text("utf-8")) for path in PACKAGE.rglob("*.py")}
    assert {path: cited for path, cited in found.items() if cited} == {}


@pytest.mark.parametrize(
    "text", ["(A3.6)", "(B5.5, B6.2)", "(A3.2 to A3.6)", "(B4, B5)", "(T42)", "A2.4, T26)", "(B8)"]
)
def test_a_cited_section_is_found(text):
    assert sections(f'"""Something {text}."""\n')
    assert sections(f"x = 1  # something {text}\n")
    assert not sections("x = A3(B5, T42)\n")


def test_numbers_and_names_are_no_sections():
    assert not sections(
        '"""ViT-B-16, arXiv 2312.03585, 0.5 (ours), vit_b16, # noqa: B008, (Sun et al., arXiv 2305.01586)."""\n'
    )


def test_what_a_readme_names_is_read():
    text = "See `clip_sams/cam.py`: `softmax_gradcam()`, `Seed`, `a.b.f()`, `x + y`, `models/sets/` and `EOS`."
    assert paths(text) == ["clip_sams/cam.py", "models/sets/"]
    assert names(text) == ["softmax_gradcam", "Seed", "f"]
