"""What bench measures, and that it measures what generate does; how long things take is for the eye."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import wsss_seed as ws
from wsss_seed.data.toyland import draw
from wsss_seed.errors import DataError, ImageError, UsageError
from wsss_seed.models import untrained
from wsss_seed.models.zoo import ModelSet
from wsss_seed.run import bench as module
from wsss_seed.run.bench import (
    DETECTOR,
    MODEL_STAGES,
    ROLES,
    STAGES,
    BenchResult,
    Spread,
    bench,
    choose_models,
    matmul_rate,
)

FEW = {"proposals.points_per_side": 6, "proposals.crop_n_layers": 0}
SIZE = (160, 120)
SETTINGS: dict[str, dict[str, Any]] = {"dino-sam": {}, "clip-sams": FEW}


@pytest.fixture(autouse=True)
def _small(monkeypatch) -> None:
    monkeypatch.setattr(module, "_SIZE", SIZE)


@pytest.fixture(scope="module", params=list(ROLES))
def measured(request, tmp_path_factory) -> SimpleNamespace:
    """A result, and copies of what it read and wrote."""
    backend, kept = request.param, tmp_path_factory.mktemp("kept")
    run = module.generate

    def keeping(data: Any, seeder: Any, out: Path, **more: Any) -> Any:
        result = run(data, seeder, out, **more)
        shutil.copytree(out, kept / "run", symlinks=True)
        shutil.copytree(data.samples[0].image.parent, kept / "images")
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WSSS_SEED_HOME", str(kept / "home"))
        patch.setattr(module, "generate", keeping)
        patch.setattr(module, "_SIZE", SIZE)
        models, _ = choose_models("tiny", backend, "cpu", "auto", {})
        result = bench(models, backend, images=2, settings=SETTINGS[backend])
    return SimpleNamespace(result=result, folder=kept, backend=backend)


def test_every_stage_is_there(measured):
    result: BenchResult = measured.result
    expected = [name for name in STAGES if name != DETECTOR or measured.backend == "dino-sam"]
    assert [stage.name for stage in result.stages] == expected
    assert all(stage.seconds > 0 for stage in result.stages)
    assert sum(stage.share for stage in result.stages) == pytest.approx(1)
    for stage in result.stages:
        counted = stage.name in MODEL_STAGES
        assert (
            (stage.gflop is not None) == (stage.floor_seconds is not None) == (stage.precision is not None) == counted
        )
        if counted:
            assert stage.gflop > 0
            fastest = max(result.matmul_tflops[stage.precision])
            assert stage.floor_seconds == pytest.approx(stage.gflop / 1e3 / fastest)
    assert result.floor_seconds == pytest.approx(sum(stage.floor_seconds or 0 for stage in result.stages))
    assert result.slowest.seconds == max(stage.seconds for stage in result.stages)
    assert not result.random_weights
    assert result.images == 2


def test_stages_add_up_to_the_time_of_seeding(measured):
    result: BenchResult = measured.result
    records = [json.loads(line) for line in (measured.folder / "run/manifest.jsonl").read_text().splitlines()]
    each = [record["seconds"] for record in records]
    assert result.seeding_seconds == Spread(sum(each) / 2, min(each), max(each))
    seeding = sum(each) / 2
    stages = sum(stage.seconds for stage in result.stages if stage.name in (*MODEL_STAGES, "fusion"))
    assert stages <= seeding + 0.01 <= result.seconds_per_image + 0.02
    assert stages > 0.5 * seeding
    assert result.images_per_second == pytest.approx(1 / result.seconds_per_image)
    assert 0 < result.utilisation <= 1


@pytest.mark.filterwarnings("ignore:the models of")
def test_masks_are_those_of_generate(measured, tmp_path, monkeypatch):
    monkeypatch.setenv("WSSS_SEED_HOME", str(tmp_path / "home"))
    images, more = measured.folder / "images", {}
    if measured.backend == "clip-sams":
        rows = [f'{path.name},"cat;dog;person"' for path in sorted(images.iterdir())]
        (tmp_path / "labels.csv").write_text("\n".join(["image,label", *rows]))
        more = {"labels": tmp_path / "labels.csv", "prompts": "handwritten"}
    ws.generate(
        images, classes="voc", backend=measured.backend, models="tiny", device="cpu", out=tmp_path / "run",
        settings=SETTINGS[measured.backend], progress=False, **more,
    )  # fmt: skip
    for folder in ("SegmentationClass", "Confidence"):
        theirs = {p.name: p.read_bytes() for p in (tmp_path / "run" / folder).iterdir()}
        assert len(theirs) == 2
        assert {p.name: p.read_bytes() for p in (measured.folder / "run" / folder).iterdir()} == theirs


def test_proposals_are_neither_taken_from_the_cache_nor_left_in_it(measured):
    assert not (measured.folder / "home/proposals").exists()


def test_json_has_the_documented_fields(measured):
    found = json.loads(json.dumps(measured.result.to_json()))
    documented = [line.split(":")[0].split(",") for line in (BenchResult.__doc__ or "").splitlines() if ": " in line]
    assert {name.strip() for names in documented for name in names} >= found.keys()
    assert {"name", "seconds", "share", "precision", "gflop", "floor_seconds"} == found["stages"][0].keys()


@pytest.fixture
def random_tiny(monkeypatch) -> ModelSet:
    """The miniatures, as if they had not been downloaded."""
    monkeypatch.setattr(untrained, "needs_random", lambda *_: True)
    monkeypatch.setattr(untrained, "untrained", lambda role, *_: getattr(ModelSet("tiny", "cpu"), role))
    return ModelSet("tiny", "cpu")


def test_random_weights_are_named_and_get_typical_answers(random_tiny, monkeypatch):
    detections: list[Any] = []
    run = module.generate

    def looking(data: Any, seeder: Any, out: Path, **more: Any) -> Any:
        result = run(data, seeder, out, **more)
        lines = (out / "manifest.jsonl").read_text().splitlines()
        detections.extend(json.loads(line)["evidence"]["detections"] for line in lines)
        return result

    monkeypatch.setattr(module, "generate", looking)
    result = bench(random_tiny, "dino-sam", images=2, peers=True)
    assert set(result.random_weights) == {"clip", "detector", "sam"}
    for found in detections:
        assert sum(d["role"] == "confident" for d in found) >= 6
        assert len({d["class"] for d in found}) == 3
    assert [(pair.name, pair.peer) for pair in result.peers] == [
        ("SAM encoder", "SamPredictor"),
        ("proposals, 8 x 8 points", "SamAutomaticMaskGenerator"),
        ("dino-sam", "Grounded-SAM's loop"),
        ("maps of 3 classes", "CLIP-ES's loop"),
    ]
    for pair in result.peers:
        assert pair.ratio_min <= pair.ratio <= pair.ratio_max
        assert min(pair.seconds, pair.peer_seconds) > 0
    assert "detect" not in vars(ModelSet("tiny", "cpu").detector)


def test_peers_of_real_weights_with_given_labels(measured):
    if measured.backend == "dino-sam":
        result = bench(ModelSet("tiny", "cpu"), "dino-sam", images=1, peers=True, settings={"mode": "label_given"})
        assert len(result.peers) == 4
        assert result.settings == {"mode": "label_given"}


def test_photographs_of_a_folder(tmp_path):
    colours = np.random.default_rng(0).integers(0, 255, (3, 40, 60, 3), np.uint8)
    for i, image in enumerate(colours):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    (tmp_path / "1.png").write_bytes(b"no image")
    result = bench(ModelSet("tiny", "cpu"), "dino-sam", images=2, root=tmp_path, peers=True)
    assert len(result.peers) == 4
    assert result.images == 1
    assert [id for id, _ in result.failed] == ["1"]


def test_the_first_images_cannot_be_read(tmp_path):
    for i in range(2):
        (tmp_path / f"{i}.png").write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"0\.png"):
        bench(ModelSet("tiny", "cpu"), "dino-sam", root=tmp_path)
    Image.fromarray(draw(0).image).save(tmp_path / "2.png")
    result = bench(ModelSet("tiny", "cpu"), "dino-sam", root=tmp_path)
    assert [id for id, _ in result.failed] == ["0", "1"]
    assert result.images == 1
    assert all(stage.gflop for stage in result.stages if stage.name in MODEL_STAGES)


def test_the_rate_of_matrix_products_is_measured_before_and_after_the_images(monkeypatch):
    rates, run, order = iter([2e12, 3e12]), module.generate, []

    def rate(*_: object) -> float:
        order.append("rate")
        return next(rates)

    def seeding(*arguments: Any, **options: Any) -> Any:
        order.append("images")
        return run(*arguments, **options)

    monkeypatch.setattr(module, "matmul_rate", rate)
    monkeypatch.setattr(module, "generate", seeding)
    result = bench(ModelSet("tiny", "cpu", precision="fp32"), "dino-sam", images=1)
    assert order == ["rate", "images", "rate"]
    assert result.matmul_tflops == {"fp32": (2.0, 3.0)}
    assert result.floor_seconds == pytest.approx(sum(stage.gflop or 0 for stage in result.stages) / 3e3)


@pytest.mark.parametrize("precision", ["bf16", "sam-bf16"])
def test_half_precision(precision):
    result = bench(ModelSet("tiny", "cpu", precision=precision), "dino-sam", images=1)
    used = {stage.name: stage.precision for stage in result.stages}
    assert used["SAM encoder"] == "bf16"
    assert used["detector"] == ("bf16" if precision == "bf16" else "fp32")
    assert all(stage.gflop for stage in result.stages if stage.precision)
    assert set(result.matmul_tflops) == {"fp32", "bf16"}


@pytest.mark.slow
def test_a_batch_is_measured_in_a_further_run():
    result = bench(ModelSet("tiny", "cpu"), "dino-sam", images=3, batch=2)
    assert result.batch == 2
    assert result.batched_images_per_second > 0
    with pytest.raises(UsageError, match="clip-sams processes one image at a time"):
        bench(ModelSet("tiny", "cpu"), "clip-sams", images=1, batch=2)


def test_bad_input(tmp_path):
    models = ModelSet("tiny", "cpu")
    with pytest.raises(UsageError, match="unknown backend of bench 'sam3'"):
        bench(models, "sam3")
    with pytest.raises(UsageError, match="`images` 0"):
        bench(models, "dino-sam", images=0)
    with pytest.raises(DataError, match="no such folder"):
        bench(models, "dino-sam", root=tmp_path / "none")
    with pytest.raises(UsageError, match="boxes_given"):
        bench(models, "dino-sam", images=1, settings={"mode": "boxes_given"})


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_rate_of_matrix_products(monkeypatch, precision):
    monkeypatch.setitem(module._RATE_SIDE, "cpu", 64)
    monkeypatch.setattr(module, "_RATE_SECONDS", 0.0)
    monkeypatch.setattr(module, "elapsed", lambda run, device: float(run().shape[0]))
    assert matmul_rate(torch.device("cpu"), precision) == 2 * 64**3 / 64
