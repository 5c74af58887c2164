"""Every reader of files against damaged and malicious ones: it reads them, or says in one line which file is no use.

A seeded generator damages sound files: bytes are flipped, cut out and inserted, and values of JSON, TOML and text are
replaced by odd ones. Every reader takes a few hundred of them here, and thousands with ``pytest -m slow``. A native
crash or a hang shows as well: it ends the test run.
"""

from __future__ import annotations

import gzip
import io
import json
import random
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.data.corrected import decide
from wsss_seed.data.base import Dataset, Sample
from wsss_seed.data.check import check_dataset
from wsss_seed.data.classes import ClassSet, load_class_set, voc_palette
from wsss_seed.data.coco import Coco
from wsss_seed.data.images import SUFFIXES, image_size, read_labels, read_orientation, read_rgb
from wsss_seed.data.labels import read_image_labels
from wsss_seed.data.lists import Listed
from wsss_seed.data.voc import Voc
from wsss_seed.data.webdataset import WebDataset
from wsss_seed.errors import ImageError, WsssError
from wsss_seed.models.checkpoints import known_checkpoints
from wsss_seed.models.detector import Queries
from wsss_seed.models.outputs import ModelOutputs, Question, WindowedMasks, read_outputs, write_outputs
from wsss_seed.models.zoo import ModelSet
from wsss_seed.output.export import FORMATS, export
from wsss_seed.output.finished import open_run
from wsss_seed.output.imports import import_masks
from wsss_seed.output.report import report
from wsss_seed.output.run_folder import RunFolder
from wsss_seed.proposals.store import Proposals
from wsss_seed.run.explain import evidence_of
from wsss_seed.seeding.clip_sams.prompts import load_contexts
from wsss_seed.segmenter.checkpoint import load_segmenter
from wsss_seed.types import Seed

CATS = ClassSet("cats", ("cat", "dog"), (("cat",), ("dog",)), ("cat", "dog"), ("grass",), voc_palette())
IDS = ("2007_000001", "2007_000002", "sub/c")
PIXELS = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
LABELS = np.random.default_rng(1).integers(0, 3, (24, 32), np.uint8)


# ---- damage


def damaged(data: bytes, dice: random.Random) -> bytes:
    """The bytes with one to three faults."""
    for _ in range(dice.randint(1, 3)):
        data = dice.choice([_flip, _cut, _drop, _repeat, _insert])(data, dice)
    return data


def _flip(data: bytes, dice: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(dice.choice([1, 1, 4, 20])):
        if out:
            out[dice.randrange(len(out))] = dice.randrange(256)
    return bytes(out)


def _cut(data: bytes, dice: random.Random) -> bytes:
    return data[: dice.randint(0, len(data))]


def _drop(data: bytes, dice: random.Random) -> bytes:
    start = dice.randint(0, len(data))
    return data[:start] + data[start + dice.randint(0, 40) :]


def _repeat(data: bytes, dice: random.Random) -> bytes:
    start = dice.randint(0, len(data))
    return data[: start + dice.randint(0, 60)] + data[start:]


def _insert(data: bytes, dice: random.Random) -> bytes:
    odd = [b"\0", b"\xff\xfe", b"\r", b"\n\n", b"\xed\xa0\x80", b"9" * 5000, b"[" * 3000, b"x" * 5000, b"-1", b"1e999"]
    start = dice.randint(0, len(data))
    return data[:start] + dice.choice(odd) + data[start:]


def odd_value(dice: random.Random) -> Any:
    """A JSON value where another kind is expected."""
    deep: Any = 0
    for _ in range(dice.choice([3, 200, 700])):
        deep = [deep] if dice.random() < 0.5 else {"a": deep}
    numbers = [0, -1, 255, 256, 2**31, 2**63, 10**30, -(10**9), 0.5, 1e9, 1e308, float("inf"), float("nan")]
    texts = ["", "x" * 5000, "../../x", "/x", "a\nb", "a:b", "\ud800", "con", "é", "\x00", "nan", "1" * 5000]
    return dice.choice([None, True, [], {}, deep, [[]], [None], {"": None}, *numbers, *texts])


def odd_json(value: Any, dice: random.Random) -> Any:
    """The value with one part replaced, removed or doubled."""
    if dice.random() < 0.15 or not isinstance(value, dict | list) or not value:
        return odd_value(dice)
    if isinstance(value, dict):
        key = dice.choice(list(value))
        if dice.random() < 0.1:
            return {k: v for k, v in value.items() if k != key}
        return {**value, key: odd_json(value[key], dice)}
    place = dice.randrange(len(value))
    if dice.random() < 0.1:
        return [*value[:place], *value[place + dice.choice([0, 1]) :], *value[place : place + 1]]
    return [*value[:place], odd_json(value[place], dice), *value[place + 1 :]]


def damaged_json(data: bytes, dice: random.Random) -> bytes:
    """JSON, or lines of it, with odd values; now and then plain damage."""
    if dice.random() < 0.25:
        return damaged(data, dice)
    lines = data.splitlines()
    place = dice.randrange(len(lines)) if b'"id"' in lines[0] else None
    if place is None:
        return json.dumps(odd_json(json.loads(data), dice)).encode()
    lines[place] = json.dumps(odd_json(json.loads(lines[place]), dice)).encode()
    return b"\n".join([*lines, b""])


# ---- readers


@dataclass
class Target:
    """A reader: the sound file, what reads it, how the file is damaged, and the share of the usual number of times."""

    file: Path
    read: Callable[[Path], object]
    damage: Callable[[bytes, random.Random], bytes] = damaged
    share: float = 1.0


def write_image(path: Path, pixels: np.ndarray, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def read_image(path: Path) -> None:
    for read in (image_size, read_orientation, read_rgb, read_labels):
        try:
            read(path)
        except WsssError as error:
            check_message(error, path)


def image_target(suffix: str, pixels: np.ndarray = PIXELS, **options: Any) -> Callable[[Path], Target]:
    return lambda folder: Target(write_image(folder / f"a{suffix}", pixels, **options), read_image)


def text_target(name: str, text: str, read: Callable[[Path], object]) -> Callable[[Path], Target]:
    def make(folder: Path) -> Target:
        (folder / name).write_text(text)
        return Target(folder / name, read, damaged_json if name.endswith(".json") else damaged)

    return make


def labels_of(path: Path) -> object:
    return read_image_labels(path, IDS, CATS)


def npy_target(folder: Path) -> Target:
    vectors = {"2007_000001": np.array([1, 0], np.float32), 2007000002: np.array([0, 1, 1], np.int64)}
    np.save(folder / "cls_labels.npy", vectors, allow_pickle=True)  # type: ignore[arg-type]
    return Target(folder / "cls_labels.npy", labels_of)


def coco_target(folder: Path) -> Target:
    from pycocotools import mask as rle

    code = rle.encode(np.asfortranarray(LABELS == 1, np.uint8))
    shapes: list[Any] = [
        [[1, 1, 20, 2, 15, 18], [3.5, 3.5, 9, 3, 9, 9, 4, 9]],
        {"size": [24, 32], "counts": code["counts"].decode()},
        {"size": [24, 32], "counts": [100, 300, 368]},
    ]
    table = {
        "images": [{"id": i, "file_name": f"{i}.png", "width": 32, "height": 24} for i in (1, 2)],
        "categories": [{"id": 3, "name": "cat"}, {"id": 5, "name": "dog"}],
        "annotations": [
            {
                "id": n,
                "image_id": 1 + n % 2,
                "category_id": (3, 5)[n % 2],
                "segmentation": shape,
                "bbox": [1, 1, 19, 17],
                "area": 200.5,
                "iscrowd": n == 2,
            }
            for n, shape in enumerate(shapes)
        ],
    }
    (folder / "annotations").mkdir()
    (folder / "annotations/instances_train.json").write_text(json.dumps(table))
    for i in (1, 2):
        write_image(folder / f"{i}.png", PIXELS)

    def read(path: Path) -> None:
        data = Coco(folder, CATS)
        check_dataset(data)
        for sample in data:
            for what in (data.mask, data.boxes):
                try:
                    what(sample)
                except WsssError as error:
                    check_message(error, path)

    return Target(folder / "annotations/instances_train.json", read, damaged_json)


def voc_target(folder: Path) -> Target:
    write_image(folder / "JPEGImages/a.png", PIXELS)
    (folder / "ImageSets/Segmentation").mkdir(parents=True)
    (folder / "ImageSets/Segmentation/train.txt").write_text("a\n")
    (folder / "Annotations").mkdir()
    box = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>20.5</xmax><ymax>18</ymax></bndbox>"
    (folder / "Annotations/a.xml").write_text(
        f"<annotation><object><name>cat</name>{box}</object><object><name>dog</name></object></annotation>"
    )

    def read(path: Path) -> None:
        data = Voc(folder, CATS)
        data.boxes(data[0])
        read_image_labels(path.parent, ["a"], CATS)

    return Target(folder / "Annotations/a.xml", read)


def list_target(folder: Path) -> Target:
    for name in "ab":
        write_image(folder / f"JPEGImages/{name}.png", PIXELS)
        write_image(folder / f"SegmentationClass/{name}.png", LABELS)
    (folder / "ImageSets/Segmentation").mkdir(parents=True)
    (folder / "ImageSets/Segmentation/train.txt").write_text("a\nJPEGImages/b.png SegmentationClass/b.png\n")
    return Target(folder / "ImageSets/Segmentation/train.txt", lambda _: Voc(folder, CATS))


def read_all(data: Dataset) -> None:
    """Read each image; those that are damaged fail by themselves."""
    for sample in data:
        with suppress(ImageError):
            data.image(sample)


def listed_target(suffix: str) -> Callable[[Path], Target]:
    columns = {"path": ["a.png", "s/b.png"], "id": ["one", ""], "labels": ["cat; dog", ""]}

    def make(folder: Path) -> Target:
        for name in columns["path"]:
            write_image(folder / name, PIXELS)
        file = folder / f"list{suffix}"
        if suffix == ".parquet":
            parquet = pytest.importorskip("pyarrow.parquet")
            parquet.write_table(pytest.importorskip("pyarrow").table(columns), file)
        else:
            rows = zip(*columns.values(), strict=True)
            file.write_text("".join(",".join(row) + "\n" for row in [tuple(columns), *rows]))
        return Target(file, lambda path: read_all(Listed(path, None, CATS)))

    return make


def tar_target(folder: Path) -> Target:
    with tarfile.open(folder / "a.tar", "w") as tar:
        for name in ("a.png", "sub/b.png"):
            tar.add(write_image(folder / name, PIXELS), name)
            labels = folder / "labels.cls"
            labels.write_text("dog")
            tar.add(labels, name.replace(".png", ".cls"))
    return Target(folder / "a.tar", lambda path: read_all(WebDataset(path, CATS)))


SETTINGS = {
    "dataset": {"name": "x", "split": "train"},
    "class_set": {"names": list(CATS.names), "phrases": {"cat": ["cat", "kitty"]}},
    "backend": {"name": "dino-sam", "nms.iou_threshold": 0.7, "detector.box_threshold": 0.3, "box.min_side": 4},
}
EVIDENCE = {
    "mode": "label_free",
    "clip": [0.5, 0.25],
    "detections": [
        {"class": "cat", "box": [1, 2, 3, 4], "score": 0.5, "role": "dropped", "reason": reason}
        for reason in ("nms", "too_small", "rejected")
    ],
}


def write_run(folder: Path) -> Path:
    source = write_image(folder / "photo.png", PIXELS)
    run = folder / "run"
    with RunFolder(run, CATS, SETTINGS, split="train") as out:
        for name in IDS:
            seed = Seed(LABELS, np.ones(LABELS.shape, np.float32), (0, 1), {0: 0.9}, EVIDENCE, ("n",))
            out.save(Sample(name, source), PIXELS, seed, 0.1)
        out.fail(Sample("d"), "damaged", 0.1)
        out.finalize([*IDS, "d"])
    decide(run, IDS[0], LABELS[::-1].copy(), verdict="open")
    decide(run, IDS[1], verdict="rejected")
    return run


def run_target(name: str) -> Callable[[Path], Target]:
    def make(folder: Path) -> Target:
        run = write_run(folder)
        outside = content(folder, run)
        formats = list(FORMATS)
        names = ("run.json", "manifest.jsonl", "classes.txt", "Corrections/log.jsonl")
        sound = {run / name: (run / name).read_bytes() for name in names}

        def read(path: Path) -> None:
            exported = folder / "exported"
            try:
                open_run(run)
                report(run, evidence_of=evidence_of(run), limit=5)
                formats.append(formats.pop(0))
                export(formats[0], run, exported)
                open_again(run)
            finally:
                shutil.rmtree(exported, ignore_errors=True)
                for file, data in sound.items():  # opening it again may have mended it
                    file.write_bytes(data)
                assert content(folder, run) == outside, "something was written outside"

        return Target(run / name, read, damaged if name == "classes.txt" else damaged_json, share=0.3)

    return make


def editor_target(format: str, name: str) -> Callable[[Path], Target]:
    """What an editor saved, of which the first image was edited."""

    def target(folder: Path) -> Target:
        run, out = write_run(folder), folder / "out"
        export(format, run, out)
        source = out
        if format == "cvat" and "/" in name:
            source = out / "voc"
            with zipfile.ZipFile(out / "segmentation_mask.zip") as archive:
                archive.extractall(source)
        file = min(out.glob(name))
        if format == "labelstudio":
            tasks = json.loads(file.read_bytes())
            for task in tasks:
                result = task["predictions"][0]["result"]
                task["annotations"] = [{"result": result, "updated_at": "2026-01-01T00:00:00Z"}]
            file.write_text(json.dumps(tasks))
        if format == "labelstudio" or (format == "cvat" and "/" not in name):
            source = file
        shutil.copytree(run / "Corrections", folder / "corrections")
        before = content(run, file)

        def read(_: Path) -> None:
            try:
                import_masks(format, run, source)
            except WsssError:
                assert content(run, file) == before, "something was changed"
                raise
            finally:
                shutil.rmtree(run / "Corrections")
                shutil.copytree(folder / "corrections", run / "Corrections")

        return Target(file, read, damaged_json if file.suffix == ".json" else damaged, share=0.5)

    return target


def open_again(run: Path) -> None:
    """As the next command of the same kind does."""
    with RunFolder(run, CATS, SETTINGS, split="train") as folder:
        folder.former([Sample(name) for name in IDS])
        folder.finalize(IDS)


def content(folder: Path, but: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and but not in path.parents)
    return {str(path): path.read_bytes() for path in files}


def proposals_target(folder: Path) -> Target:
    from pycocotools import mask as rle

    masks = tuple(
        {"size": [24, 32], "counts": rle.encode(np.asfortranarray(c == LABELS, np.uint8))["counts"]} for c in (1, 2)
    )
    zeros = np.zeros(2, np.float32)
    sound = Proposals(
        (24, 32),
        masks,
        np.zeros(2, np.int8),
        zeros,
        zeros,
        np.zeros(2, np.int64),
        np.zeros((2, 2), np.float32),
        np.zeros((2, 4), np.int32),
    )
    file = folder / "a.json.gz"
    file.write_bytes(sound.to_bytes())

    def inside(data: bytes, dice: random.Random) -> bytes:
        if dice.random() < 0.2:
            return damaged(data, dice)
        return gzip.compress(damaged_json(gzip.decompress(data), dice))

    def read(path: Path) -> None:
        try:
            found = Proposals.from_bytes(path.read_bytes())
        except ValueError:  # what the store takes for a file that is to be made again
            return
        if found.size == (24, 32):
            found.dense()

    return Target(file, read, inside)


def prompts_target(folder: Path) -> Target:
    source = resources.files("wsss_seed.models") / "tiny_regions/prompts/toyland-cls.safetensors"
    file = folder / "cls.safetensors"
    file.write_bytes(source.read_bytes())
    clip = ModelSet("tiny", "cpu").for_backend("clip-sams").clip
    classes = load_class_set("toyland")
    head = int.from_bytes(file.read_bytes()[:8], "little") + 8

    def metadata(data: bytes, dice: random.Random) -> bytes:
        if dice.random() < 0.3:
            return damaged(data[: head + 100], dice) + data[head + 100 :]
        table = json.loads(data[8:head])
        inner = {key: json.loads(v) if v[:1] in "{[" else v for key, v in table["__metadata__"].items()}
        changed = odd_json(inner, dice)
        if isinstance(changed, dict):
            changed = {
                k: v if isinstance(v, str) or dice.random() < 0.05 else json.dumps(v) for k, v in changed.items()
            }
        text = json.dumps({**table, "__metadata__": changed}).encode()
        return len(text).to_bytes(8, "little") + text + data[head:]

    return Target(file, lambda path: load_contexts(path, clip=clip, class_set=classes), metadata)


def outputs_target(folder: Path) -> Target:
    """The outputs of the models for an image: all answers are used, so that none is of an odd shape."""
    file = folder / "outputs.st"
    box = np.array([2, 3, 30, 20], np.float32)
    outputs = ModelOutputs("0123", grid=(32, 32), steps=[((64, 64), (48, 64)), ((24, 32), (24, 32))])
    outputs.views[box.tobytes()] = np.ones(4, np.float32)
    queries = Queries(box[None], np.ones(1, np.float32), np.ones((1, 2), np.float32))
    outputs.queries[Question((("cat",), ("dog", "puppy")), True, "span_mean_max")] = queries
    outputs.masks[box.tobytes(), True] = WindowedMasks(4, 0, np.ones((3, 9, 8), np.float32), np.ones(3, np.float32))
    write_outputs(file, outputs, {"clip": "abc"})
    head = int.from_bytes(file.read_bytes()[:8], "little") + 8

    def damage(data: bytes, dice: random.Random) -> bytes:
        if dice.random() < 0.4:
            return damaged(data[:head], dice) + data[head:]
        table = json.loads(data[8:head])
        header = json.dumps(odd_json(json.loads(table["__metadata__"]["header"]), dice))
        text = json.dumps({**table, "__metadata__": {"header": header}}).encode()
        return len(text).to_bytes(8, "little") + text + data[head:]

    return Target(file, lambda path: read_outputs(path, {"clip": "abc"}), damage)


def segmenter_target(folder: Path) -> Target:
    """A file that torch can read, whose values are odd: what a network is built of."""
    from wsss_seed.segmenter.checkpoint import Scale, Segmenter, save
    from wsss_seed.segmenter.networks import NetworkSettings, build

    settings = NetworkSettings("deeplabv3plus", "tu-test_resnet", decoder_channels=16, atrous_rates=(1, 2, 3))
    sound = folder / "best.pt"
    save(sound, Segmenter(build(settings, 3).eval(), CATS, Scale(), {"train.batch_size": 4}, {"miou": 0.5}), settings)
    values = torch.load(sound, weights_only=True)
    weights = {key: v for key, v in values.items() if _has_tensors(v)}
    facts = {key: v for key, v in values.items() if key not in weights}

    def odd(data: bytes, dice: random.Random) -> bytes:
        if dice.random() < 0.3:
            return damaged(data, dice)
        changed = odd_json(facts, dice)
        state = dict(weights) if dice.random() < 0.9 else odd_value(dice)
        buffer = io.BytesIO()
        whole = {**changed, **state} if isinstance(changed, dict) and isinstance(state, dict) else changed
        try:
            torch.save(whole, buffer)
        except RecursionError:  # too deep to be written
            return damaged(data, dice)
        return buffer.getvalue()

    return Target(sound, lambda path: load_segmenter(path), odd, share=0.2)


def _has_tensors(value: Any) -> bool:
    values = value.values() if isinstance(value, dict) else [value]
    return any(isinstance(v, torch.Tensor) or (isinstance(v, dict) and _has_tensors(v)) for v in values)


def model_target(role: str, file: str) -> Callable[[Path], Target]:
    """One of the bundled models as a folder of its own."""

    def make(folder: Path) -> Target:
        source = Path(str(resources.files("wsss_seed.models") / "tiny"))
        for path in source.iterdir():
            shutil.copy(path, folder / path.name)
        head = 2000  # the header of safetensors; damaged weights are weights

        def damage(data: bytes, dice: random.Random) -> bytes:
            if file.endswith(".json"):
                return damaged_json(data, dice)
            return damaged(data[:head], dice) + data[head:]

        return Target(folder / file, lambda _: _loaded(role, folder), damage, share=0.1)

    return make


def _loaded(role: str, folder: Path) -> object:
    return getattr(ModelSet("tiny", "cpu", **{role: str(folder)}), role)


def checkpoints_target(folder: Path) -> Target:
    file = folder / "checkpoints.toml"
    file.write_text(
        '[sam.mine]\nlicence = "mit"\nseen = ["voc"]\nalso = ["m"]\n'
        f'files = [{{ name = "m.pth", urls = ["http://localhost/m.pth"], size = 5, sha256 = "{"0" * 64}" }}]\n'
    )
    return Target(file, lambda _: [(c.state(), c.size) for c in known_checkpoints()])


CLASSES_TOML = """
max_candidates = 6
background = ["grass", "sky"]
palette = [[0, 0, 0], [128, 0, 0]]
classes = [{ name = "sofa", phrases = ["couch", "sofa"], prompt = "sofa", parts = ["cushion"] }, { name = "cat" }]
[thresholds."detector.box_threshold"]
sofa = 0.25
"""

TARGETS: dict[str, Callable[[Path], Target]] = {
    "png": image_target(".png"),
    "palette png": image_target(".png", LABELS),
    "jpeg": image_target(".jpg"),
    "webp": image_target(".webp", lossless=True),
    "bmp": image_target(".bmp"),
    "tiff": image_target(".tif"),
    **({"avif": image_target(".avif")} if ".avif" in SUFFIXES else {}),
    **({"heif": image_target(".heic")} if ".heic" in SUFFIXES else {}),
    "tiff, deflated": image_target(".tiff", compression="tiff_deflate"),
    "labels.txt": text_target("labels.txt", "2007_000001 0 1\n2007_000002.jpg cat, dog\nsub/c\tcat\n", labels_of),
    "labels.csv": text_target("labels.csv", "image,label\n2007_000001,cat;dog\n2007_000002.jpg,1\n", labels_of),
    "labels.json": text_target("labels.json", '{"2007_000001": ["cat", 1], "2007_000002": "dog"}', labels_of),
    "labels.npy": npy_target,
    "classes.txt": text_target("mine.txt", "background\nsofa: couch, sofa\ncat\n", load_class_set),
    "classes.toml": text_target("mine.toml", CLASSES_TOML, load_class_set),
    "coco": coco_target,
    "voc annotation": voc_target,
    "voc list": list_target,
    "list.csv": listed_target(".csv"),
    "list.parquet": listed_target(".parquet"),
    "tar": tar_target,
    "manifest": run_target("manifest.jsonl"),
    "run.json": run_target("run.json"),
    "classes of a run": run_target("classes.txt"),
    "CVAT's zip": editor_target("cvat", "segmentation_mask.zip"),
    "CVAT's label map": editor_target("cvat", "voc/labelmap.txt"),
    "CVAT's masks": editor_target("cvat", "voc/SegmentationClass/*.png"),
    "CVAT's COCO": editor_target("cvat", "coco.json"),
    "Label Studio's tasks": editor_target("labelstudio", "tasks.json"),
    "labelme's shapes": editor_target("labelme", "images/*.json"),
    "FiftyOne's samples": editor_target("fiftyone", "samples.json"),
    "FiftyOne's masks": editor_target("fiftyone", "fields/mask/*.png"),
    "corrections of a run": run_target("Corrections/log.jsonl"),
    "proposals": proposals_target,
    "prompts": prompts_target,
    "model outputs": outputs_target,
    "segmenter": segmenter_target,
    "clip folder": model_target("clip", "clip.json"),
    "clip weights": model_target("clip", "clip.safetensors"),
    "sam folder": model_target("sam", "sam.json"),
    "sam weights": model_target("sam", "sam.safetensors"),
    "detector folder": model_target("detector", "detector.json"),
    "detector weights": model_target("detector", "detector.safetensors"),
    "checkpoints.toml": checkpoints_target,
}


def check_message(error: WsssError, path: Path) -> None:
    """One line that names the file, or a folder that it lies in."""
    text = str(error)
    assert "\n" not in text, text
    assert len(text) <= 1000, text
    assert any(str(place) in text for place in (path, *path.parents[:3])), text


def attack(target: Target, times: int, seed: int) -> int:
    """Let a reader read damaged files; return how many it refused."""
    sound = target.file.read_bytes()
    target.read(target.file)
    refused = 0
    dice = random.Random(seed)
    for number in range(times):
        target.file.write_bytes(target.damage(sound, dice))
        try:
            target.read(target.file)
        except WsssError as error:
            check_message(error, target.file)
            refused += 1
        except Exception as error:
            raise AssertionError(f"damage {number} of seed {seed} ({target.file}): {error!r}") from error
    return refused


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WSSS_SEED_HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_files_are_read_or_refused_in_one_line(name, folder):
    target = TARGETS[name](folder)
    attack(target, max(4, round(100 * target.share)), seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 3])
@pytest.mark.parametrize("name", TARGETS)
def test_more_damaged_files(name, seed, folder):
    target = TARGETS[name](folder)
    attack(target, max(100, round(1000 * target.share)), seed)
