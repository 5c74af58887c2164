"""Imports point down: no room of the package knows of one above it."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "wsss_seed"

ROOMS = (
    "cli",
    "api",
    "review",
    "run",
    "segmenter",
    "seeding",
    "output",
    "evaluation",
    "proposals",
    "types",
    "models",
    "data",
    "io",
    "config",
    "errors",
)
"""From top to bottom."""

FLOOR = {room: floor for floor, room in enumerate(ROOMS)}
BACKENDS = ("clip_sams", "dino_sam", "sam3")


def imports(source: str, parts: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The modules of the package that the module ``parts`` (its path below the package) imports, absolute or relative,
    at the top, in a function, or for type checking only."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            base: tuple[str, ...] = tuple((node.module or "").split(".")) if node.module else ()
            if node.level:
                base = (*parts[: len(parts) - node.level], *base)
            elif base[0] == "wsss_seed":
                base = base[1:]
            else:
                continue
            found += [base] if base else [(alias.name,) for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [
                tuple(alias.name.split("."))[1:] for alias in node.names if alias.name.split(".")[0] == "wsss_seed"
            ]
    return found


def faults(source: str, parts: tuple[str, ...]) -> list[str]:
    room = parts[0].removesuffix(".py")
    return [
        f"{'/'.join(parts)} imports {'.'.join(target)}"
        for target in imports(source, parts)
        if target[0] != room and target[0] in FLOOR and FLOOR[target[0]] <= FLOOR[room]
    ]


def modules() -> list[tuple[str, ...]]:
    return [path.relative_to(PACKAGE).parts for path in sorted(PACKAGE.rglob("*.py"))]


def test_every_module_has_a_room():
    homeless = {parts[0].removesuffix(".py") for parts in modules()} - FLOOR.keys() - {"__init__", "__main__"}
    assert not homeless
    assert {row for row in FLOOR if not (PACKAGE / row).exists() and not (PACKAGE / f"{row}.py").exists()} == set()


def test_imports_point_down():
    found = []
    for parts in modules():
        if parts[0] not in ("__init__.py", "__main__.py"):
            found += faults((PACKAGE.joinpath(*parts)).read_text("utf-8"), parts)
    assert not found


def test_only_the_registry_and_the_public_api_know_the_backends():
    """Generic rooms find backends by their entry points; what is particular to one of them lies with it."""
    for parts in modules():
        if parts[0] == "seeding" and parts[1] == "detection":
            for target in imports(PACKAGE.joinpath(*parts).read_text("utf-8"), parts):
                assert not set(target) & set(BACKENDS), parts


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ("from ..run.plan import RunPlan", ("seeding", "x.py")),
        ("from wsss_seed.cli import app", ("run", "x.py")),
        ("def f():\n    import wsss_seed.output.manifest", ("data", "voc.py")),
        ("from .. import cli", ("io", "x.py")),
        ("from ...run import generate", ("seeding", "detection", "x.py")),
    ],
)
def test_an_arrow_that_points_up_is_found(source, parts):
    assert faults(source, parts)
    assert not faults("from ..errors import WsssError", ("run", "x.py"))
