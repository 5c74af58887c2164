"""Tests mirror the package: ``wsss_seed/a/b.py`` is tested in ``tests/a/test_b.py``."""

import ast
from pathlib import Path

TESTS = Path(__file__).parent
PACKAGE = TESTS.parent / "wsss_seed"


def mirrored(module: Path) -> Path:
    path = module.relative_to(PACKAGE)
    return TESTS / path.with_name(f"test_{path.name}")


def modules() -> list[Path]:
    return [path for path in sorted(PACKAGE.rglob("*.py")) if path.name not in ("__init__.py", "__main__.py")]


def has_tests(path: Path) -> bool:
    tree = ast.parse(path.read_text("utf-8"))
    return any(isinstance(node, ast.FunctionDef) and node.name.startswith("test_") for node in tree.body)


def test_every_module_has_a_test_file_of_its_own():
    assert [m.relative_to(PACKAGE).as_posix() for m in modules() if not mirrored(m).is_file()] == []


def test_every_test_file_of_a_module_has_tests():
    assert [m for m in modules() if mirrored(m).is_file() and not has_tests(mirrored(m))] == []


def test_a_missing_file_would_be_noticed():
    assert mirrored(PACKAGE / "data" / "voc.py") == TESTS / "data" / "test_voc.py"
    assert len(modules()) > 100
    assert not has_tests(TESTS / "rounding.py")
