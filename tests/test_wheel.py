"""The wheel a user installs: complete, small, and able to load its models by itself."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
LOAD = """
import sys
from pathlib import Path
import wsss_seed
assert Path(wsss_seed.__file__).is_relative_to(sys.argv[1]), wsss_seed.__file__
from wsss_seed.data.classes import known_class_sets, load_class_set
from wsss_seed.models.zoo import ModelSet, model_sets
assert {"voc", "coco", "toyland"} <= set(known_class_sets())
assert len(load_class_set("coco").names) == 80
assert {"tiny", "base", "large"} <= set(model_sets())
models = ModelSet("tiny", "cpu")
print(models.clip.image_size, models.sam.name, models.detector.name)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    build = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", build, str(out)], cwd=REPOSITORY, check=True, capture_output=True)
    (path,) = out.glob("*.whl")
    return path


def test_bundled_models_take_at_most_20_megabytes(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        sizes = {i.filename: i.file_size for i in archive.infolist() if i.filename.startswith("wsss_seed/models/")}
    weights = ["tiny/clip", "tiny/sam", "tiny/detector", "tiny_regions/clip", "tiny_regions/prompts/toyland-seg"]
    assert {f"wsss_seed/models/{name}.safetensors" for name in weights} <= set(sizes)
    assert sum(sizes.values()) <= 20 * 2**20


def test_the_wheel_says_that_it_is_typed(wheel: Path):
    """PEP 561: without the marker type checkers ignore the annotations of an installed package."""
    with zipfile.ZipFile(wheel) as archive:
        assert "wsss_seed/py.typed" in archive.namelist()


def test_the_wheel_has_the_page_of_review(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        packed = {Path(n).name for n in archive.namelist() if n.startswith("wsss_seed/review/page/")}
    assert packed == {path.name for path in (REPOSITORY / "wsss_seed/review/page").iterdir()}
    assert {"index.html", "style.css", "main.js"} <= packed


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.split("/")[0] for name in archive.namelist()}
    assert {t for t in tops if not t.endswith(".dist-info")} == {"wsss_seed"}


def test_models_load_from_the_wheel(wheel: Path, tmp_path: Path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    result = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, sys.argv[1])\n{LOAD}", str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
