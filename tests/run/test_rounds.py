"""Self-training on a painted world, with a small network that learns it."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.corrected import decide
from tests.run import killed_runs
from tests.run.painted import CLASSES, paint
from wsss_seed.data.images import read_labels
from wsss_seed.data.voc import Voc
from wsss_seed.data.voc_layout import file_name
from wsss_seed.errors import WsssError
from wsss_seed.io.files import write_json, write_text
from wsss_seed.io.png import write_confidence, write_mask
from wsss_seed.output.run_folder import confidence_path, mask_path
from wsss_seed.run.rounds import prediction_of, seed_of
from wsss_seed.segmenter.agreement import AgreementSettings, agreement

IMAGES = 10
SMALL = [
    "train.max_iters=30", "train.batch_size=4", "train.checkpoint_interval=5", "train.ema_decay=0.0",
    "network.decoder_channels=16", "augment.crop_size=64",
    "optimizer.lr=0.005", "optimizer.warmup_iters=0", "agreement.confidence_threshold=0.0",
]  # fmt: skip


def write_seeds(root: Path, images: int = IMAGES) -> Path:
    """A VOC tree of painted images; its masks are right but for a stripe of a wrong class and one of 255."""
    for i in range(images):
        image, labels = paint(i, 80)
        labels[:4], labels[4:8] = 255, 2
        (root / "JPEGImages").mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(root / "JPEGImages" / f"{i:02}.png")
        write_mask(mask_path(root, f"{i:02}", "flat"), labels, CLASSES.palette)
        write_confidence(confidence_path(root, f"{i:02}", "flat"), np.full(labels.shape, 0.6))
    write_text(root / "ImageSets" / "Segmentation" / "train.txt", "".join(f"{i:02}\n" for i in range(images)))
    write_text(root / "classes.txt", "background\nred\ngreen\nblue\n")
    return root


def nested_seeds(root: Path, flat: Path) -> Path:
    """The same in the nested layout, whose list has names of files."""
    names = [file_name(f"{i:02}", "nested") for i in range(IMAGES)]
    for folder, suffix in (("JPEGImages", "png"), ("SegmentationClass", "png"), ("Confidence", "png")):
        for i, name in enumerate(names):
            path = root / folder / f"{name}.{suffix}"
            path.parent.mkdir(parents=True)
            shutil.copy(flat / folder / f"{i:02}.{suffix}", path)
    write_text(root / "ImageSets" / "Segmentation" / "train.txt", "".join(f"{name}\n" for name in names))
    shutil.copy(flat / "classes.txt", root)
    about = {"contract": 2, "settings": {}, "versions": {}, "started": "", "finished": None, "totals": None}
    write_json(root / "run.json", about | {"layout": "nested"})
    return root


@pytest.fixture(scope="module")
def seeds(tmp_path_factory) -> Path:
    return write_seeds(tmp_path_factory.mktemp("rounds") / "seeds")


def command(seeds: Path, out: Path, *more: str, rounds: int = 2) -> list[str]:
    settings = [word for value in SMALL for word in ("--set", value)]
    return [
        sys.executable, "-m", "wsss_seed", "train-seg", str(seeds), "--out", str(out), "--recipe", "tiny",
        "--encoder", "tu-test_resnet", "--workers", "0", "--device", "cpu", "--rounds", str(rounds), *settings, *more,
    ]  # fmt: skip


def start(*words: str) -> subprocess.Popen[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WSSS_SEED_")} | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(*words: str) -> tuple[int, str, str]:
    process = start(*words)
    output, messages = process.communicate()
    return process.returncode, output, messages


def contents(out: Path) -> dict[str, object]:
    """What the rounds have made, but times: weights, label maps, confidence and manifests."""
    import torch

    files: dict[str, object] = {}
    for path in sorted(out.rglob("*")):
        name = path.relative_to(out).as_posix()
        if path.name == "last.pt":
            weights = torch.load(path, weights_only=True)["weights"]
            files[name] = {key: value.numpy().tobytes() for key, value in weights.items()}
    for folder in sorted({path.parent for path in out.rglob("run.json")}):
        for name, value in killed_runs.contents(folder).items():
            files[f"{folder.relative_to(out).as_posix()}/{name}"] = value
    return files


@pytest.fixture(scope="module")
def undisturbed(seeds: Path, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    status, _, messages = finish(*command(seeds, out, "--json"))
    assert status == 0, messages
    return out


def test_rounds_on_nested_seeds(undisturbed: Path, seeds: Path, tmp_path: Path):
    out = tmp_path / "out"
    status, _, messages = finish(*command(nested_seeds(tmp_path / "seeds", seeds), out))
    assert status == 0, messages
    for name in ("predictions", "fused"):
        for i in range(IMAGES):
            own = mask_path(out / "round-1" / name, f"{i:02}", "nested").read_bytes()
            assert own == mask_path(undisturbed / "round-1" / name, f"{i:02}", "flat").read_bytes()


def test_each_round_has_its_folder(undisturbed: Path, seeds: Path):
    assert sorted(path.name for path in undisturbed.iterdir()) == ["round-1", "round-2"]
    first = undisturbed / "round-1"
    for name in ("predictions", "fused"):
        lines = [json.loads(line) for line in (first / name / "manifest.jsonl").read_text().splitlines()]
        assert [line["status"] for line in lines] == ["ok"] * IMAGES
    assert not (undisturbed / "round-2" / "predictions").exists()  # nobody would learn from it
    trained = [json.loads((undisturbed / f"round-{i}" / "training.json").read_text()) for i in (1, 2)]
    assert trained[0]["settings"]["masks"] != trained[1]["settings"]["masks"]
    for i in range(IMAGES):
        seed, prediction, fused = (
            read_labels(mask_path(folder, f"{i:02}", "flat"))
            for folder in (seeds, first / "predictions", first / "fused")
        )
        differ = (seed != prediction) & (seed != 255)
        assert (fused[differ] == 255).all()
        assert np.array_equal(fused[seed == prediction], seed[seed == prediction])


@pytest.mark.slow
def test_killed_at_any_moment_it_resumes_to_the_same_result(undisturbed: Path, seeds: Path, tmp_path: Path):
    """In training, while predicting, while fusing, in the second training: wherever the dice fall."""
    expected = contents(undisturbed)
    assert any(name.endswith("round-2/last.pt") for name in expected)
    dice = random.Random(5)
    out = tmp_path / "out"
    marks = [
        out / "round-1" / "last.pt",
        out / "round-1" / "predictions" / "manifest.jsonl",
        out / "round-1" / "fused" / "manifest.jsonl",
        out / "round-2" / "last.pt",
    ]
    for mark in marks:
        process = start(*command(seeds, out))
        killed_runs.wait_for(lambda mark=mark, process=process: mark.exists() or process.poll() is not None, 200)
        time.sleep(dice.uniform(0, 0.2))
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL, f"ended before it was killed after {mark.relative_to(out)}"
    status, output, messages = finish(*command(seeds, out))
    assert status == 0, messages
    assert contents(out) == expected
    assert "agreed: pixels with the same label in the seeds and in the prediction" in output


def test_more_rounds_add_to_those_there_are(undisturbed: Path, seeds: Path, tmp_path: Path):
    out = tmp_path / "out"
    shutil.copytree(undisturbed, out, symlinks=True)
    before = contents(out)
    status, output, messages = finish(*command(seeds, out, "--json", rounds=3))
    assert status == 0, messages
    report = json.loads(output)
    assert [row["round"] for row in report["rounds"]] == [1, 2, 3]
    assert report["rounds"][0]["kept"] is None
    assert all(0 < row["kept"] < 1 and 0 < row["agreed"] < 1 for row in report["rounds"][1:])
    assert (out / "round-3" / "last.pt").exists()
    after = contents(out)
    assert {name: after[name] for name in before} == before


def test_an_image_that_cannot_be_read_is_left_out(tmp_path: Path):
    seeds = write_seeds(tmp_path / "seeds", 6)
    path = seeds / "JPEGImages" / "03.png"
    path.write_bytes(path.read_bytes()[:-200])
    status, output, messages = finish(*command(seeds, tmp_path / "out", "--json"))
    assert status == 1, messages
    row = json.loads(output)["rounds"][1]
    assert [entry["id"] for entry in row["failed"]] == ["03"]
    fused = tmp_path / "out" / "round-1" / "fused"
    assert len((fused / "ImageSets" / "Segmentation" / "train.txt").read_text().split()) == 5
    assert (tmp_path / "out" / "round-2" / "last.pt").exists()


@pytest.mark.parametrize(
    ("more", "rounds", "part"),
    [
        (["--set", "agreement.disagreement=weigh"], 2, "--set train.confidence_weighting=true"),
        (["--set", "agreement.disagreement=wiegh"], 2, "Did you mean 'weigh'?"),
        (["--set", "agreement.confidence_treshold=1"], 2, "Did you mean 'confidence_threshold'?"),
        (["--set", "agreement.confidence_threshold=0.5"], 1, "--rounds 2"),
        (["--set", "train.batch_size=8"], 2, "train.batch_size 4 -> 8"),
    ],
)
def test_wrong_usage_is_one_line(undisturbed: Path, seeds: Path, more, rounds, part):
    status, _, messages = finish(*command(seeds, undisturbed, *more, rounds=rounds))
    errors = [line for line in messages.splitlines() if line.startswith("error: ")]
    assert (status, len(errors)) == (2, 1), messages
    assert part in errors[0]
    assert "Traceback" not in messages


def test_several_processes(launch: list[str], seeds: Path, tmp_path: Path):
    """They share the prediction and the fusion as well."""
    status, output, messages = finish(*launch, *command(seeds, tmp_path / "out", "--json")[1:])
    assert status == 0, messages
    assert [Path(row["masks"]).name for row in json.loads(output)["rounds"]] == ["seeds", "fused"]
    fused = tmp_path / "out" / "round-1" / "fused"
    assert len((fused / "ImageSets" / "Segmentation" / "train.txt").read_text().split()) == IMAGES
    lines = [json.loads(line) for line in (fused / "manifest.jsonl").read_text().splitlines()]
    assert sorted(line["id"] for line in lines) == [f"{i:02}" for i in range(IMAGES)]
    assert (tmp_path / "out" / "round-2" / "last.pt").exists()


def test_weighed(seeds: Path, tmp_path: Path):
    out = tmp_path / "out"
    more = ("--set", "agreement.disagreement=weigh", "--set", "train.confidence_weighting=true")
    status, _, messages = finish(*command(seeds, out, *more))
    assert status == 0, messages
    for i in range(IMAGES):
        seed, prediction, fused = (
            read_labels(mask_path(folder, f"{i:02}", "flat"))
            for folder in (seeds, out / "round-1" / "predictions", out / "round-1" / "fused")
        )
        known = seed != 255
        assert ((fused == seed) | (fused == prediction))[known].all()
        assert (fused[known] != 255).all()


def test_seeds_without_confidence_are_sure(seeds: Path, tmp_path: Path):
    root = tmp_path / "tree"
    shutil.copytree(seeds, root)
    data = Voc(root, CLASSES, "train")
    assert set(np.unique(seed_of(data, data[0]).confidence)) == {np.float32(153 / 255)}
    shutil.rmtree(root / "Confidence")
    labels, confidence = seed_of(data, data[0])
    assert np.array_equal(confidence, (labels != 255).astype(np.float32))
    mask_path(root, "00", "flat").unlink()
    with pytest.raises(WsssError, match="00"):
        seed_of(Voc(root, CLASSES, "train"), data[0])


def test_labels_that_a_person_decided_outlast_the_segmenter(seeds: Path, tmp_path: Path):
    root, predictions = tmp_path / "tree", tmp_path / "predictions"
    shutil.copytree(seeds, root)
    shutil.copytree(seeds, predictions)
    (root / "classes.txt").write_text("".join(f"{name}\n" for name in ("background", *CLASSES.names)))
    data = Voc(root, CLASSES, "train")
    own = data.mask(data[0])
    corrected = own.copy()
    corrected[:4], corrected[4:6] = 2, 255
    decide(root, "00", corrected, verdict="open")
    changed = corrected != own
    assert changed.any()
    assert not changed.all()
    wrong = np.full_like(own, 3)
    for id in ("00", "01"):
        write_mask(mask_path(predictions, id, "flat"), wrong[: data.mask(data[int(id)]).shape[0]], CLASSES.palette)
    data = Voc(root, CLASSES, "train")
    seed, prediction = seed_of(data, data[0]), prediction_of(data, predictions, data[0])
    assert (seed.confidence[changed & (corrected != 255)] == 1).all()
    fused = agreement(seed, prediction, AgreementSettings(confidence_threshold=0.0))
    assert np.array_equal(fused.labels[changed], corrected[changed])
    assert (fused.labels[~changed & (own != 255) & (own != 3)] == 255).all()
    decide(root, "00")  # accepted: no pixel may change
    data = Voc(root, CLASSES, "train")
    seed, prediction = seed_of(data, data[0]), prediction_of(data, predictions, data[0])
    fused = agreement(seed, prediction, AgreementSettings(confidence_threshold=0.0))
    assert np.array_equal(fused.labels, own)
