"""Configurations agree with the files; mmsegmentation itself, in its own environment, reads an export and trains."""

import hashlib
import json
import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.output.odd_run import CLASSES, NAMES, PALETTE, label_maps, write_run
from wsss_seed.data.images import read_rgb
from wsss_seed.data.voc import Voc
from wsss_seed.output.export import export
from wsss_seed.output.export.mmseg import RECIPES

EXAMPLE = Path(__file__).parents[3] / "examples" / "mmsegmentation"


@pytest.fixture(scope="module")
def python() -> str:
    """The Python of the environment, which examples/mmsegmentation/README.md tells how to make."""
    path = os.environ.get("WSSS_SEED_MMSEG_PYTHON")
    if not path:
        pytest.skip("WSSS_SEED_MMSEG_PYTHON does not name the Python of an environment with mmsegmentation")
    return path


def outside(python: str, *command: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command with the other Python and nothing of this one."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    return subprocess.run(
        [*map(str, command)], capture_output=True, text=True, cwd=cwd, env={**env, "PYTHON": python}, check=False
    )


def require(python: str, module: str) -> None:
    """Skip where the other Python has no such module; one that is there and broken is left to fail."""
    found = outside(python, python, "-c", f"from importlib.util import *; print(find_spec({module!r}))", cwd=EXAMPLE)
    assert found.returncode == 0, found.stderr
    if found.stdout.strip() == "None":
        pytest.skip(f"the environment of {python} has no {module}; {EXAMPLE.name}/README.md says how to install it")


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("validated", [True, False])
def test_its_datasets_read_equal_pixels_and_odd_names(python, tmp_path, name, validated):
    if name == "mask2former":
        require(python, "mmdet")
    run = write_run(tmp_path / "run", tmp_path / "photos")
    export("mmseg", run, tmp_path / "out", validation=Voc(run, CLASSES) if validated else None)
    script = Path(__file__).parent / "mmseg_reads.py"
    result = outside(python, python, script, EXAMPLE, tmp_path / "out" / f"{name}.py", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout.splitlines()[-1])
    assert found["heads"] == [5, 5 if name == "deeplabv3plus" else None]
    assert found["parts"].keys() == ({"train", "val"} if validated else {"train"})
    for part in found["parts"].values():
        assert part["classes"] == ["background", *NAMES]
        assert part["palette"] == [list(colour) for colour in PALETTE[:5]]
        assert part["ignore_index"] == 255
        assert part["reduce_zero_label"] is False
        assert part["rows"].keys() == label_maps().keys()
        for id, labels in label_maps().items():
            shape, image_hash, labels_hash = part["rows"][id]
            assert tuple(shape) == labels.shape
            assert labels_hash == hashlib.sha256(labels.tobytes()).hexdigest()
            file = run / "JPEGImages" / f"{id}.jpg"
            if not file.is_symlink():  # decoders of JPEG differ by a grey value here and there
                assert image_hash == hashlib.sha256(np.ascontiguousarray(read_rgb(file)).tobytes()).hexdigest()


@pytest.mark.slow
def test_its_runner_trains_and_validates(python, cli, tmp_path):
    """The example: DeepLabV3+ on seeds of toyland."""
    assert cli("generate", "--dataset", "toyland", "--split", "train", "--images", 24, "--out", "seeds").returncode == 0
    assert cli("datasets", "make", "toyland", "--split", "val", "--images", 6, "--out", "val").returncode == 0
    exported = cli("export", "mmseg", "seeds", "exported", "--val", "val", "--json")
    assert json.loads(exported.stdout)["images"] == {"train": 24, "val": 6}
    result = outside(python, EXAMPLE / "run.sh", "exported", "work", cwd=tmp_path)
    log = result.stdout + result.stderr
    assert result.returncode == 0, log[-3000:]
    losses = {int(n): float(loss) for n, loss in re.findall(r"Iter\(train\) \[(\d+)/40\].* loss: ([\d.]+)", log)}
    assert losses.keys() >= {10, 40}
    assert losses[40] < losses[10]
    assert re.search(r"Iter\(val\) \[6/6\].* mIoU: [\d.]+", log)
    assert "umbrella" in log
    assert (tmp_path / "work" / "iter_40.pth").exists()


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("mmseg")
    run = write_run(folder / "run", folder / "photos")
    export("mmseg", run, folder / "out", validation=Voc(run, CLASSES))
    export("mmseg", run, folder / "train only")
    return folder


def values(path: Path) -> dict[str, object]:
    """The variables of a configuration file, which is Python, with its folder filled in as mmengine does."""
    found: dict[str, object] = {}
    exec(path.read_text("utf-8").replace("{{ fileDirname }}", str(path.parent)), found)
    return found


@pytest.mark.parametrize("name", RECIPES)
def test_configurations_name_the_files_that_are_there(exported, name):
    config = values(exported / "out" / f"{name}.py")
    assert config["classes"] == ("background", *NAMES)
    assert config["palette"] == PALETTE[:5]
    assert config["_base_"] == RECIPES[name].base
    for part in ("train", "val"):
        data = config[f"{part}_dataset"]
        root = Path(data["data_root"])
        ids = (root / data["ann_file"]).read_text("utf-8").splitlines()
        assert ids == list(label_maps())
        for id in ids:
            assert (root / data["data_prefix"]["img_path"] / f"{id}{data['img_suffix']}").is_file()
            mask = root / data["data_prefix"]["seg_map_path"] / f"{id}{data['seg_map_suffix']}"
            np.testing.assert_array_equal(np.array(Image.open(mask)), label_maps()[id])
        assert (data["reduce_zero_label"], data["ignore_index"]) == (False, 255)
    assert config["model"]["decode_head"]["num_classes"] == 5
    assert config["default_hooks"]["checkpoint"]["save_best"] == "mIoU"


def test_without_ground_truth_there_is_no_validation(exported):
    for name in RECIPES:
        config = values(exported / "train only" / f"{name}.py")
        assert config["val_dataloader"] is config["val_cfg"] is config["val_evaluator"] is None
        assert config["default_hooks"]["checkpoint"]["save_best"] is None
        assert "val_dataset" not in config


def test_class_names_hold_nothing_that_mmengine_would_fill_in(exported):
    """One of the names has double braces, as the placeholders of mmengine do."""
    text = (exported / "out" / "deeplabv3plus.py").read_text("utf-8")
    assert text.count("{{") == text.count("{{ fileDirname }}") == 1
