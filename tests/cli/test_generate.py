"""``wsss-seed generate`` as a user runs it: bundled models, toyland and photographs."""

import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.io.object_storage import bucket, s3, s3_server  # noqa: F401
from wsss_seed.data.voc_layout import file_name

IMAGES = 4


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """A toyland world on disk."""
    from wsss_seed.data.toyland.tree import write_tree

    root = tmp_path_factory.mktemp("world") / "tree"
    write_tree(root, "test", IMAGES, 3)
    return root


def masks(out: Path) -> dict[str, bytes]:
    folder = out / "SegmentationClass"
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*.png"))}


def test_masks_do_not_depend_on_the_batch(program, tmp_path: Path):
    for batch in ("1", "3"):
        result = program("generate", "--dataset", "toyland", "--images", 5, "--batch", batch, "--out", batch)
        assert result.returncode == 0, result.stderr
    alone, together = masks(tmp_path / "1"), masks(tmp_path / "3")
    assert len(alone) == 5
    assert together == alone
    wrong = program("generate", "--dataset", "toyland", "--batch", "many")
    assert wrong.returncode == 2
    assert "--batch many: expected a number of images, or auto" in wrong.stderr


def test_the_readme_command(program, tmp_path: Path):
    result = program("generate", "--dataset", "toyland", "--out", "seeds", "--images", IMAGES)
    assert result.returncode == 0, result.stderr
    assert "mIoU" in result.stdout
    assert "seeds/SegmentationClass" in result.stdout
    assert len(masks(tmp_path / "seeds")) == IMAGES
    assert json.loads((tmp_path / "seeds" / "run.json").read_text())["settings"]["backend"]["name"] == "dino-sam"


def test_models_that_replace_those_of_the_set_are_named(cli):
    command = ("generate", "--dataset", "toyland", "--images", 1)
    assert "dino-sam with model set 'tiny' on cpu" in cli(*command, "--device", "cpu", "--out", "a").stderr
    other = cli(*command, "--device", "cpu", "--clip", "tiny-regions", "--out", "b").stderr
    assert "dino-sam with model set 'tiny', but clip tiny-regions, on cpu" in other


def test_options_of_clip_sams_choose_it(cli, tmp_path: Path):
    for option in (["--prompts", "handwritten"], ["--preset", "toyland", "--stage", "handwritten"]):
        result = cli("generate", "--dataset", "toyland", "--images", 1, *option, "--out", option[0], "--json")
        assert result.returncode == 0, result.stderr
        assert json.loads((tmp_path / option[0] / "run.json").read_text())["settings"]["backend"]["name"] == "clip-sams"


def test_result_is_one_json_object_and_messages_go_to_standard_error(cli, tmp_path: Path):
    result = cli("generate", "--dataset", "toyland", "--images", IMAGES, "--out", "seeds", "--json")
    report = json.loads(result.stdout)
    assert report["images"] == report["made"] == IMAGES
    assert report["failed"] == []
    assert 0 <= report["evaluation"]["miou"] <= 1
    assert f"{IMAGES} images of toyland test" in result.stderr
    again = json.loads(cli("generate", "--dataset", "toyland", "--images", IMAGES, "--out", "seeds", "--json").stdout)
    assert again["skipped"] == IMAGES
    assert again["made"] == 0
    assert again["evaluation"] == report["evaluation"]


def test_labels_derived_from_the_ground_truth_are_declared(cli, tree, tmp_path: Path):
    command = ["generate", "--dataset", "voc", "--root", tree, "--models", "tiny", "--labels", "masks", "--limit", 1]
    result = cli(*command, "--out", "seeds")
    assert result.returncode == 0, result.stderr
    assert "labels: ground-truth masks;" in result.stderr
    run = json.loads((tmp_path / "seeds" / "run.json").read_text())
    assert run["labels"]["source"] == "ground-truth masks"
    assert run["settings"]["labels"] == "given"


def test_edited_masks_and_replaced_images_are_named(cli, tree, tmp_path: Path):
    shutil.copytree(tree, tmp_path / "tree")
    command = ["generate", "--dataset", "voc", "--root", "tree", "--models", "tiny", "--out", "seeds"]
    assert cli(*command).returncode == 0
    first, second = sorted((tmp_path / "seeds" / "SegmentationClass").iterdir())[:2]
    with Image.open(first) as mask:
        edited = mask.copy()
    edited.putpixel((0, 0), 255)
    edited.save(first)
    photos = tmp_path / "tree" / "JPEGImages"
    shutil.copy(next(photos.glob(f"{first.stem}.*")), next(photos.glob(f"{second.stem}.*")))
    again = cli(*command)
    assert f"kept: 1 mask changed since it was made ({first.stem}); --overwrite" in again.stderr
    assert f"regenerated: 1 mask whose image was replaced since it was made ({second.stem})" in again.stderr
    with Image.open(first) as mask:
        assert mask.getpixel((0, 0)) == 255
    third = json.loads(cli(*command, "--json").stdout)
    assert (third["kept"], third["replaced"], third["made"]) == ([first.stem], [], 0)


def confidences(out: Path) -> dict[str, np.ndarray]:
    return {path.name: np.array(Image.open(path)).astype(int) for path in (out / "Confidence").rglob("*.png")}


def records(out: Path) -> list[dict[str, Any]]:
    """The manifest without times."""
    lines = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    for line in lines:
        del line["mask"]["mtime_ns"]
    return [{k: v for k, v in line.items() if k not in ("seconds", "finished")} for line in lines]


WAYS = {"label-free": ["--labels", "none"], "labels": ["--labels", "auto"], "maps": ["--backend", "clip-sams"]}


def test_the_same_command_gives_the_same_bytes(cli, program, tmp_path: Path):
    """Also in another process, where it has the same number of threads."""
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    for run, out in ((cli, "a"), (program, "b")):
        result = run(
            "generate", "--dataset", "toyland", "--images", IMAGES, "--out", out, "--labels", "none", env=threads
        )
        assert result.returncode == 0, result.stderr
    a, b = tmp_path / "a", tmp_path / "b"
    assert len(masks(a)) == len(confidences(a)) == IMAGES
    assert masks(a) == masks(b)
    for path in (a / "Confidence").iterdir():
        assert path.read_bytes() == (b / "Confidence" / path.name).read_bytes()
    assert records(a) == records(b)


@pytest.fixture
def set_threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("way", WAYS)
def test_another_number_of_threads_gives_the_same_masks(cli, set_threads, tmp_path: Path, way):
    """And confidence within a grey level, and scores within 0.001; see ``wsss_seed.run.generate.generate``."""
    for threads in (1, 2):
        set_threads(threads)
        result = cli("generate", "--dataset", "toyland", "--images", IMAGES, "--out", threads, *WAYS[way])
        assert result.returncode == 0, result.stderr
    one, two = tmp_path / "1", tmp_path / "2"
    assert masks(one) == masks(two)
    others = confidences(two)
    for name, confidence in confidences(one).items():
        assert np.abs(confidence - others[name]).max() <= 1
    for a, b in zip(records(one), records(two), strict=True):
        assert a["scores"] == pytest.approx(b["scores"], abs=1e-3)
        moves = {"scores", "evidence"}
        assert {k: v for k, v in a.items() if k not in moves} == {k: v for k, v in b.items() if k not in moves}


@pytest.fixture
def unscorable(tree: Path, tmp_path: Path) -> Path:
    """The same world with two label maps that cannot be used."""
    root = tmp_path / "world"
    shutil.copytree(tree, root)
    first, second = sorted((root / "SegmentationClass").iterdir())[:2]
    first.write_bytes(first.read_bytes()[:100])
    Image.new("L", (3, 2)).save(second)
    return root


def test_unusable_ground_truth_is_reported_before_the_work(cli, unscorable: Path, tmp_path: Path):
    command = ["generate", "--dataset", "voc", "--root", unscorable, "--classes", "toyland", "--split", "test"]
    result = cli(*command, "--out", "out", "--json")
    assert result.returncode == 0, result.stderr
    (warning,) = (line for line in result.stderr.splitlines() if "ground truth" in line)
    first, second = sorted((unscorable / "SegmentationClass").iterdir())[:2]
    assert warning.startswith(f"warning: ground truth of 2 images cannot be used (first: {first}: damaged or truncated")
    assert warning.endswith("; there will be no mIoU until it is fixed")
    assert result.stderr.index(warning) < result.stderr.index("seeding")
    evaluation = json.loads(result.stdout)["evaluation"]
    assert evaluation["miou"] is None
    assert [error["id"] for error in evaluation["errors"]] == [first.stem, second.stem]
    # Only the images of this run count; and the warning comes before models are loaded.
    assert "of 1 image cannot" in cli(*command, "--out", "out", "--shard", "2/3").stderr
    (tmp_path / "damaged.pt").write_bytes(b"no model")
    damaged = cli(*command, "--out", "other", "--sam", "damaged.pt")
    assert damaged.returncode == 2
    assert "of 2 images cannot" in damaged.stderr


def test_a_tree_on_disk_label_free_and_with_labels(cli, tree: Path, tmp_path: Path):
    for labels in ("auto", "none"):
        result = cli(
            "generate", "--dataset", "voc", "--root", tree, "--classes", "toyland", "--split", "test",
            "--labels", labels, "--out", labels, "--json",
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        assert json.loads(result.stdout)["evaluation"]["miou"] > 0.2
    run = json.loads((tmp_path / "none" / "run.json").read_text())
    assert run["settings"]["labels"] == "none"


def test_photographs_get_masks_of_their_size_and_a_warning(cli, real_data: Path, tmp_path: Path):
    result = cli(
        "generate", "--dataset", "voc", "--root", real_data / "voc", "--split", "val", "--models", "tiny",
        "--limit", 3, "--out", "seeds",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "trained on toyland" in result.stderr
    for path in (tmp_path / "seeds" / "SegmentationClass").glob("*.png"):
        with Image.open(path) as mask, Image.open(real_data / "voc" / "JPEGImages" / f"{path.stem}.jpg") as image:
            assert mask.mode == "P"
            assert mask.size == image.size
            assert set(np.unique(np.asarray(mask))) <= {*range(21), 255}
    assert len(list((tmp_path / "seeds" / "SegmentationClass").glob("*.png"))) == 3


def test_a_folder_with_a_bad_image_and_odd_names(cli, tree: Path, tmp_path: Path):
    folder = tmp_path / "photos"
    (folder / "süb dir").mkdir(parents=True)
    source = sorted((tree / "JPEGImages").iterdir())
    shutil.copy(source[0], folder / "süb dir" / "ein bild.JPG")
    Image.open(source[1]).convert("L").save(folder / "gray.png")
    Image.new("RGB", (1, 1)).save(folder / "one.bmp")
    (folder / "broken.jpg").write_bytes(source[2].read_bytes()[:300])
    result = cli(
        "generate", "--dataset", "folder", "--root", folder, "--classes", "house, tree", "--models", "tiny",
        "--out", "seeds",
    )  # fmt: skip
    assert result.returncode == 1
    assert "broken.jpg" in result.stderr
    assert set(masks(tmp_path / "seeds")) == {"süb dir/ein bild.png", "gray.png", "one.png"}
    lines = [json.loads(line) for line in (tmp_path / "seeds" / "manifest.jsonl").read_text().splitlines()]
    assert {line["id"]: line["status"] for line in lines} == {
        "süb dir/ein bild": "ok", "gray": "ok", "one": "ok", "broken": "failed",
    }  # fmt: skip


def test_other_settings_in_the_same_folder_are_refused(cli, tmp_path: Path):
    command = ["generate", "--dataset", "toyland", "--images", 1, "--out", "seeds"]
    assert cli(*command).returncode == 0
    before = masks(tmp_path / "seeds")
    result = cli(*command, "--set", "detector.box_threshold=0.9")
    assert result.returncode == 2
    assert "detector.box_threshold" in result.stderr
    assert "0.9" in result.stderr
    assert masks(tmp_path / "seeds") == before
    assert cli(*command, "--set", "detector.box_threshold=0.9", "--overwrite").returncode == 0


def test_files_in_nested_folders(cli, tmp_path: Path):
    command = ("generate", "--dataset", "toyland", "--images", 2, "--json")
    flat = json.loads(cli(*command, "--out", "flat").stdout)
    nested = json.loads(cli(*command, "--out", "seeds", "--layout", "nested").stdout)
    assert nested["evaluation"] == flat["evaluation"]
    names = (tmp_path / "seeds/ImageSets/Segmentation/test.txt").read_text().split()
    assert names == [file_name(f"test_00000{i}", "nested") for i in range(2)]
    assert all((tmp_path / f"seeds/SegmentationClass/{name}.png").exists() for name in names)
    assert json.loads(cli(*command, "--out", "seeds").stdout)["skipped"] == 2
    refused = cli(*command, "--out", "seeds", "--layout", "flat")
    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-1] == (
        "error: seeds: this run has the layout nested; leave --layout out to continue it, use --overwrite to start it "
        "again, or choose another --out"
    )
    unknown = cli(*command, "--out", "seeds", "--layout", "deep")
    assert "error: unknown layout 'deep'; known: flat, nested" in unknown.stderr


def test_hard_images(cli, tmp_path: Path):
    command = ["--dataset", "toyland", "--images", 2, "--difficulty", "hard"]
    result = cli("generate", *command, "--labels", "none", "--out", "seeds", "--json")
    assert result.returncode == 0, result.stderr
    score = json.loads(result.stdout)["evaluation"]["miou"]
    run = json.loads((tmp_path / "seeds" / "run.json").read_text())["settings"]
    assert run["dataset"]["difficulty"] == "hard"
    assert run["class_set"]["assume_present"] is False
    again = cli("evaluate", "--pred", "seeds", *command, "--json")
    assert json.loads(again.stdout)["miou"] == score
    standard = cli("generate", "--dataset", "toyland", "--images", 2, "--labels", "none", "--out", "seeds")
    assert standard.returncode == 2
    assert "difficulty" in standard.stderr


@pytest.mark.parametrize(
    ("args", "parts"),
    [
        (["--dataset", "toyland", "--difficulty", "hrad"], ["Did you mean 'hard'?"]),
        (["--dataset", "voc", "--root", "VOC", "--difficulty", "hard"], ["--difficulty", "is for toyland"]),
        (["--dataset", "toylnd"], ["toylnd", "Did you mean 'toyland'?", "voc"]),
        (["--dataset", "toyland", "--backend", "dino-san"], ["Did you mean 'dino-sam'?"]),
        (["--dataset", "toyland", "--models", "tinny"], ["Did you mean 'tiny'?"]),
        (["--dataset", "toyland", "--split", "tst"], ["Did you mean 'test'?"]),
        (["--dataset", "toyland", "--set", "gd.box_th=1"], ["Did you mean 'detector.box_threshold'?"]),
        (["--dataset", "toyland", "--sam", "vit_x"], ["vit_x", "vit_h"]),
        (["--dataset", "toyland", "--sam", "vit_b"], ["sam_vit_b_01ec64.pth", "--models tiny"]),
        (["--dataset", "toyland", "--shard", "3/2"], ["--shard 3/2"]),
        (["--dataset", "toyland", "--device", "cuda:99"], ["cuda:99", "--device cpu"]),
        (["--dataset", "voc"], ["--root"]),
        (["--dataset", "voc", "--root", "nowhere"], ["nowhere"]),
        (["--dataset", "folder", "--root", "."], ["--classes"]),
    ],
)
def test_wrong_usage_is_one_line_with_the_remedy(cli, tmp_path: Path, args, parts):
    images = ["--images", 1] if "toyland" in args else []
    result = cli("generate", "--out", "seeds", *images, *args, env={"WSSS_SEED_HOME": str(tmp_path / "home")})
    assert result.returncode == 2, result.stderr
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert "Traceback" not in result.stderr
    for part in parts:
        assert part in lines[0]


def test_shards_together_are_the_whole(cli, tmp_path: Path):
    command = ["generate", "--dataset", "toyland", "--images", IMAGES]
    assert cli(*command, "--out", "whole").returncode == 0
    for i in (1, 2):
        assert cli(*command, "--out", "parts", "--shard", f"{i}/2").returncode == 0
    assert masks(tmp_path / "whole") == masks(tmp_path / "parts")


def test_help_and_import_load_no_torch(program):
    code = "import sys, wsss_seed, wsss_seed.cli; assert not {'torch', 'numpy'} & set(sys.modules), sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert "generate" in program("--help").stdout


def test_a_list_and_tars_give_the_masks_of_the_folder(cli, tree: Path, tmp_path: Path):
    (tmp_path / "photos").symlink_to(tree / "JPEGImages")
    names = sorted(path.name for path in (tree / "JPEGImages").iterdir())
    (tmp_path / "photos.csv").write_text("path,labels\n" + "".join(f"photos/{name},\n" for name in names[:2]))
    with tarfile.open(tmp_path / "photos-0.tar", "w") as tar:
        for name in names:
            tar.add(tree / "JPEGImages" / name, name)
    options = ("--classes", "toyland", "--labels", "none", "--models", "tiny")
    for source in (
        ("--dataset", "folder", "--root", "photos", "--out", "whole"),
        ("--dataset", "folder", "--list", "photos.csv", "--out", "listed"),
        ("--dataset", "webdataset", "--root", "photos-{0..0}.tar", "--out", "tars"),
    ):
        result = cli("generate", *source, *options)
        assert result.returncode == 0, result.stderr
    whole = masks(tmp_path / "whole")
    assert len(whole) == IMAGES
    assert masks(tmp_path / "tars") == whole
    assert masks(tmp_path / "listed") == {f"photos/{name}": whole[name] for name in sorted(whole)[:2]}
    copy = tmp_path / "tars/JPEGImages" / Path(names[0]).with_suffix(".jpg")
    np.testing.assert_array_equal(Image.open(copy), Image.open(tree / "JPEGImages" / names[0]))
    assert json.loads((tmp_path / "tars/run.json").read_text())["settings"]["dataset"]["name"] == "webdataset"
    again = cli("generate", "--dataset", "webdataset", "--root", "photos-0.tar", "--out", "tars", "--json", *options)
    assert json.loads(again.stdout)["skipped"] == IMAGES


def test_images_behind_a_url_give_the_masks_of_the_folder(cli, tree: Path, tmp_path: Path, bucket: str):  # noqa: F811
    import fsspec

    fsspec.filesystem("s3").put(f"{tree}/JPEGImages/", f"{bucket}/photos", recursive=True)
    options = ("--dataset", "folder", "--classes", "toyland", "--labels", "none", "--models", "tiny")
    for root, out in ((tree / "JPEGImages", "local"), (f"{bucket}/photos", "remote")):
        result = cli("generate", "--root", root, "--out", out, *options)
        assert result.returncode == 0, result.stderr
    assert len(masks(tmp_path / "local")) == IMAGES
    assert masks(tmp_path / "remote") == masks(tmp_path / "local")
    assert not any(path.is_symlink() for path in (tmp_path / "remote/JPEGImages").iterdir())
    assert not any(b"hush" in path.read_bytes() for path in (tmp_path / "remote").rglob("*.json*"))
