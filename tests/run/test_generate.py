"""The loop: what it makes, what it skips, what it refuses, and that one bad image does not stop it."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from torchvision.datasets import VOCSegmentation

from tests.run.killed_runs import contents
from tests.run.painted import CLASSES, NearestColour, Painted, paint
from wsss_seed.data.base import Dataset, Sample
from wsss_seed.data.folder import Folder
from wsss_seed.data.images import read_labels, read_rgb
from wsss_seed.errors import WsssError
from wsss_seed.evaluation.evaluate import evaluate
from wsss_seed.io.progress import Progress
from wsss_seed.io.source import Source
from wsss_seed.io.stamp import Stamp
from wsss_seed.output.manifest import Appender, Manifest
from wsss_seed.run.generate import generate
from wsss_seed.types import LoadedSample


def run(out, images=12, seeder=None, dataset=None, **options):
    seeder = seeder or NearestColour()
    options.setdefault("settings", seeder.settings)
    return generate(dataset or Painted(images), seeder, out, **options)


class Counting(NearestColour):
    """Counts what it is asked for."""

    calls = 0

    def seed(self, loaded):
        self.calls += 1
        return super().seed(loaded)


def test_output_contract(tmp_path):
    out = tmp_path / "run"
    result = run(out)
    assert (result.made, result.skipped, result.failed, result.exit_status) == (12, 0, (), 0)
    assert result.finalized
    assert (out / "classes.txt").read_text() == "background\nred\ngreen\nblue\n"
    ids = (out / "ImageSets/Segmentation/val.txt").read_text().split()
    assert ids == [sample.id for sample in Painted(12)] == list(result.ids)
    records = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    assert [record["id"] for record in records] == ids
    for i, record in enumerate(records):
        image, _ = paint(i)
        labels = read_labels(out / f"SegmentationClass/{record['id']}.png")
        expected = NearestColour().seed(LoadedSample(Sample("x"), image))
        np.testing.assert_array_equal(labels, expected.labels)
        np.testing.assert_array_equal(read_rgb(out / f"JPEGImages/{record['id']}.jpg"), image)
        confidence = np.asarray(Image.open(out / f"Confidence/{record['id']}.png"))
        np.testing.assert_allclose(confidence / 255, expected.confidence, atol=0.5 / 255 + 1e-6)
        assert record["status"] == "ok"
        assert record["size"] == [image.shape[1], image.shape[0]]
        assert record["present"] == [CLASSES.names[c] for c in expected.present]
        assert record["scores"].keys() == set(CLASSES.names)
        names = dict(enumerate(("background", *CLASSES.names)))
        assert record["pixels"] == {names[v]: int((labels == v).sum()) for v in names if (labels == v).any()}
        assert record["ignore"] == pytest.approx((labels == 255).mean(), abs=1e-6)
        assert record["notes"] == ["painted"]
        assert record["evidence"]["nearest"] > 0
        assert record["error"] is None
        assert record["seconds"] > 0
    description = json.loads((out / "run.json").read_text())
    assert description["settings"] == {**NearestColour().settings, "orientation": "stored"}
    assert description["totals"]["ok"] == 12
    assert description["totals"]["failed"] == 0
    assert {"wsss_seed", "python", "numpy", "pillow"} <= description["versions"].keys()


def test_read_by_torchvision(tmp_path):
    """VOCSegmentation opens the folder as it stands, under the path it expects."""
    run(tmp_path / "run")
    (tmp_path / "VOCdevkit").mkdir()
    (tmp_path / "VOCdevkit/VOC2012").symlink_to(tmp_path / "run")
    voc = VOCSegmentation(tmp_path, year="2012", image_set="val", download=False)
    assert len(voc) == 12
    for i, (image, mask) in enumerate(voc):
        pixels, _ = paint(i)
        np.testing.assert_array_equal(np.asarray(image), pixels)
        np.testing.assert_array_equal(np.asarray(mask), NearestColour().seed(LoadedSample(Sample("x"), pixels)).labels)


def test_two_runs_are_equal_byte_for_byte(tmp_path):
    run(tmp_path / "a")
    run(tmp_path / "b")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_own_evaluation(tmp_path):
    run(tmp_path / "run")
    evaluation = evaluate(tmp_path / "run", Painted(12))
    assert evaluation.miou > 0.7
    assert evaluation.coverage < 1


def test_finished_images_are_skipped(tmp_path):
    out = tmp_path / "run"
    run(out, limit=5)
    before = contents(out)
    assert len(before["manifest.jsonl"]) == 5
    seeder = Counting()
    result = run(out, seeder=seeder)
    assert (result.skipped, result.made, seeder.calls) == (5, 7, 7)
    run(tmp_path / "whole")
    assert contents(out) == contents(tmp_path / "whole")
    seeder = Counting()
    assert run(out, seeder=seeder).skipped == 12
    assert seeder.calls == 0


@pytest.mark.parametrize("damage", ["gone", "empty", "short"])
def test_a_damaged_mask_is_made_again(tmp_path, damage):
    out = tmp_path / "run"
    run(out)
    before = contents(out)
    path = out / "SegmentationClass/odd/0003.png"
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: 50 if damage == "short" else 0])
    result = run(out)
    assert (result.made, result.kept) == (1, ())
    assert contents(out) == before


@pytest.mark.parametrize("mode", ["P", "RGB"])
def test_an_edited_mask_is_kept_and_named(tmp_path, mode):
    out = tmp_path / "run"
    run(out, images=4)
    path = out / "SegmentationClass/odd/0003.png"
    Image.fromarray(np.zeros_like(read_labels(path))).convert(mode).save(path)
    edited = path.read_bytes()
    result = run(out)  # of more images than before
    assert (result.made, result.skipped, result.kept) == (8, 4, ("odd/0003",))
    assert path.read_bytes() == edited
    assert "odd/0003" in (out / "ImageSets/Segmentation/val.txt").read_text().split()
    assert run(out).kept == ("odd/0003",)
    assert run(out, overwrite=True).kept == ()
    run(tmp_path / "whole")
    assert contents(out) == contents(tmp_path / "whole")


def test_a_touched_mask_is_no_edit(tmp_path):
    out = tmp_path / "run"
    run(out, images=3)
    os.utime(out / "SegmentationClass/even/0002.png", ns=(1, 1))
    result = run(out, images=3)
    assert (result.made, result.skipped, result.kept) == (0, 3, ())


def save_painted(index, path):
    """A painted image as a file."""
    Image.fromarray(paint(index)[0]).save(path)


def test_a_replaced_image_is_seeded_again(tmp_path):
    paths = [tmp_path / f"{name}.png" for name in "abcd"]
    for index, path in enumerate(paths):
        save_painted(index, path)
    out = tmp_path / "run"
    run(out, dataset=Files(paths))
    save_painted(7, paths[1])
    os.utime(paths[2], ns=(1, 1))  # another time alone is no other image
    os.replace(paths[0], tmp_path / "moved.png")
    (tmp_path / "moved.png").rename(paths[0])
    result = run(out, dataset=Files(paths))
    assert (result.made, result.skipped, result.replaced) == (1, 3, ("b",))
    expected = NearestColour().seed(LoadedSample(Sample("x"), paint(7)[0])).labels
    np.testing.assert_array_equal(read_labels(out / "SegmentationClass/b.png"), expected)
    assert run(out, dataset=Files(paths)).replaced == ()


def test_an_edited_mask_of_a_replaced_image_is_kept(tmp_path):
    path = tmp_path / "a.png"
    save_painted(0, path)
    out = tmp_path / "run"
    run(out, dataset=Files([path]))
    mask = out / "SegmentationClass/a.png"
    Image.fromarray(np.zeros_like(read_labels(mask))).save(mask)
    save_painted(1, path)
    result = run(out, dataset=Files([path]))
    assert (result.made, result.kept, result.replaced) == (0, ("a",), ())


def test_killed_while_a_replaced_image_is_seeded_again(tmp_path, monkeypatch):
    """The new mask without its record is not taken for an edited one."""
    path = tmp_path / "a.png"
    save_painted(0, path)
    out = tmp_path / "run"
    run(out, dataset=Files([path]))
    save_painted(7, path)

    append = Appender.append

    def killed(appender, record):
        if record.status == "ok":
            raise KeyboardInterrupt
        append(appender, record)

    with monkeypatch.context() as patch:
        patch.setattr(Appender, "append", killed)
        assert run(out, dataset=Files([path])).interrupted
    assert (out / "SegmentationClass/a.png").exists()
    result = run(out, dataset=Files([path]))
    assert (result.made, result.kept) == (1, ())


def test_one_bad_image_does_not_stop_the_run(tmp_path):
    out = tmp_path / "run"
    result = run(out, dataset=Painted(12, broken=[3, 4]))
    assert result.exit_status == 1
    assert result.failed == (
        ("odd/0003", "odd/0003: damaged image; copy it again"),
        ("even/0004", "even/0004: damaged image; copy it again"),
    )
    assert result.made == 10
    records = Manifest(out)
    assert [records[f"odd/{i:04}"].status for i in (1, 3, 5)] == ["ok", "failed", "ok"]
    assert "even/0004" not in (out / "ImageSets/Segmentation/val.txt").read_text()
    assert not (out / "SegmentationClass/even/0004.png").exists()
    refused = evaluate(out, Painted(12))
    assert refused.miou is None
    assert refused.missing == ("odd/0003", "even/0004")
    result = run(out)  # with the images repaired
    assert (result.made, result.skipped, result.exit_status) == (2, 10, 0)
    run(tmp_path / "whole")
    assert contents(out) == contents(tmp_path / "whole")


class Breaking(NearestColour):
    """Breaks on some images, or gives what is no seed, in each way a third party's seeder might."""

    def __init__(self, ways):
        super().__init__()
        self.ways = ways

    def seed(self, loaded):
        seed = super().seed(loaded)
        way = self.ways.get(int(loaded.sample.id[-4:]))
        changed = {
            "dtype": lambda: seed.labels.astype(np.int64),
            "size": lambda: seed.labels[1:],
            "value": lambda: np.where(seed.labels == 0, np.uint8(4), seed.labels),
        }
        if way in changed:
            return type(seed)(changed[way](), seed.confidence, seed.present)
        if way == "nan":
            return type(seed)(seed.labels, seed.confidence * np.nan, seed.present)
        if way == "class":
            return type(seed)(seed.labels, seed.confidence, (3,))
        if way == "none":
            return None
        if way == "raise":
            raise RuntimeError("out of\nmemory")
        if way == "full":
            raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 20.00 GiB")
        if way == "host":
            torch.ones(2**50, dtype=torch.uint8)
        return seed


def test_what_is_no_seed_fails_alone(tmp_path):
    ways = dict(enumerate(["dtype", "size", "value", "nan", "class", "none", "raise", "full", "host"], start=2))
    result = run(tmp_path / "run", seeder=Breaking(ways))
    errors = {int(name[-4:]): error for name, error in result.failed}
    assert sorted(errors) == sorted(ways)
    for number, words in {
        2: "uint8",
        3: "labels uint8",
        4: "beyond the 3 classes",
        5: "not finite",
        6: "classes",
    }.items():
        assert words in errors[number]
    assert errors[8] == "RuntimeError: out of memory"
    assert "out of GPU memory; choose smaller models" in errors[9]
    assert errors[10].startswith("out of memory")
    assert result.made == 12 - len(ways)


def test_an_error_of_no_image_stops_the_run(tmp_path):
    class Unusable(NearestColour):
        def seed(self, loaded):
            raise WsssError("the class set is too long for the caption")

    with pytest.raises(WsssError, match="too long"):
        run(tmp_path / "run", seeder=Unusable())
    assert run(tmp_path / "run").made == 12


def test_other_settings_are_refused_and_shown(tmp_path):
    out = tmp_path / "run"
    run(out, settings={"backend": "paint", "settings": {"contest": 20.0, "old": 1}})
    before = contents(out)
    new = {"backend": "paint", "settings": {"contest": 5.0, "new": (1, 2)}}
    with pytest.raises(WsssError) as error:
        run(out, seeder=NearestColour(5.0), settings=new)
    text = str(error.value)
    assert "settings.contest 20.0 -> 5.0, settings.old 1 -> unset, settings.new unset -> [1, 2]" in text
    assert "`overwrite`" in text
    assert "`out`" in text
    assert "\n" not in text
    assert contents(out) == before
    run(out, seeder=NearestColour(5.0), settings=new, overwrite=True, limit=6)
    run(tmp_path / "fresh", seeder=NearestColour(5.0), settings=new, limit=6)
    assert contents(out) == contents(tmp_path / "fresh")  # nothing of the former run is left


def test_settings_are_compared_as_written(tmp_path):
    """Tuples, paths and numpy numbers come back from JSON as something else; that is no difference."""
    settings = {"a": (1, 2), "b": np.float32(0.5), "c": {"d": tmp_path}, "e": None}
    run(tmp_path / "run", settings=settings)
    assert run(tmp_path / "run", settings=settings).skipped == 12


def test_overwrite_makes_everything_again(tmp_path):
    run(tmp_path / "run")
    seeder = Counting()
    assert run(tmp_path / "run", seeder=seeder, overwrite=True).made == 12
    assert seeder.calls == 12


def test_shards_one_after_the_other(tmp_path):
    out = tmp_path / "run"
    made = [run(out, shard=(i, 5)).ids for i in range(5)]
    assert sorted(id for ids in made for id in ids) == sorted(sample.id for sample in Painted(12))
    run(tmp_path / "whole")
    assert contents(out) == contents(tmp_path / "whole")


def test_overwriting_a_shard_leaves_the_others(tmp_path):
    out = tmp_path / "run"
    run(out)
    kept = (out / "SegmentationClass/odd/0001.png").stat()
    seeder = Counting()
    run(out, seeder=seeder, shard=(0, 2), overwrite=True)
    assert seeder.calls == 6
    assert (out / "SegmentationClass/odd/0001.png").stat().st_mtime_ns == kept.st_mtime_ns
    assert len(Manifest(out)) == 12
    # With other settings what the others made is worth nothing.
    run(out, seeder=NearestColour(5.0), shard=(0, 2), overwrite=True)
    assert len(Manifest(out)) == 6
    assert not (out / "SegmentationClass/odd/0001.png").exists()


def test_an_overwritten_image_that_now_fails_leaves_no_old_mask(tmp_path):
    out = tmp_path / "run"
    run(out)
    run(out, dataset=Painted(12, broken=[2]), shard=(0, 2), overwrite=True)
    assert Manifest(out)["even/0002"].status == "failed"
    assert not (out / "SegmentationClass/even/0002.png").exists()


def test_foreign_folders_are_refused(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "holiday.jpg").write_bytes(b"x")
    for overwrite in (False, True):
        with pytest.raises(WsssError, match="not empty and not a run folder"):
            run(folder, overwrite=overwrite)
    assert [path.name for path in folder.iterdir()] == ["holiday.jpg"]
    with pytest.raises(WsssError, match="not a folder"):
        run(folder / "holiday.jpg")
    with pytest.raises(WsssError, match="cannot be written"):
        run(folder / "holiday.jpg" / "run")
    (tmp_path / "empty").mkdir()
    assert run(tmp_path / "empty").exit_status == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_unwritable_folder(tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(WsssError, match=r"cannot be written \(Permission denied\)"):
        run(tmp_path / "locked" / "run")


def test_unreadable_run_json(tmp_path):
    out = tmp_path / "run"
    run(out)
    (out / "run.json").write_text('{"settings": ')
    with pytest.raises(WsssError, match=r"run\.json: not readable"):
        run(out)
    (out / "run.json").write_text('{"settings": {}, "contract": 99}')
    with pytest.raises(WsssError, match="another version"):
        run(out)


class Files(Dataset):
    """Image files, named by their stems."""

    name, split, class_set = "files", "", CLASSES

    def __init__(self, paths):
        self.samples = [Sample(path.stem, path) for path in paths]


def test_images_inside_the_run_folder_are_refused(tmp_path):
    run(tmp_path / "run")
    images = Files(sorted((tmp_path / "run/JPEGImages/odd").iterdir()))
    with pytest.raises(WsssError, match="the dataset's images lie in this folder"):
        run(tmp_path / "run", dataset=images, overwrite=True)


def test_images_are_linked_or_copied_so_that_readers_agree(tmp_path):
    """Plain files are linked as <id>.jpg; those that readers decode differently become copies of what was seeded."""
    source = tmp_path / "source"
    source.mkdir()
    image = Image.fromarray(paint(1)[0])
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(source / "plain.jpg")
    image.save(source / "png.png")
    image.convert("L").save(source / "grey.jpg")
    image.save(source / "turned.jpg", exif=exif)
    image.convert("P").save(source / "palette.png")
    image.convert("CMYK").save(source / "cmyk.jpg")
    image.convert("RGBA").save(source / "alpha.png")
    image.save(source / "name with.dots é.bmp")
    paths = sorted(source.iterdir())
    out = tmp_path / "run"
    assert run(out, dataset=Files(paths)).exit_status == 0
    for path in paths:
        placed = out / "JPEGImages" / f"{path.stem}.jpg"
        assert placed.is_symlink() == (path.stem in ("plain", "png", "grey", "name with.dots é")), path
        with Image.open(placed) as image:
            assert not image.getexif()
            np.testing.assert_array_equal(np.asarray(image.convert("RGB")), read_rgb(path))
    assert (out / "ImageSets/Segmentation/all.txt").read_text() == "".join(f"{path.stem}\n" for path in paths)
    sources = {path: path.read_bytes() for path in paths}
    run(out, dataset=Files(paths), overwrite=True)
    assert {path: path.read_bytes() for path in paths} == sources


def test_an_id_the_file_system_cannot_hold_fails_alone(tmp_path):
    class Long(Painted):
        def __init__(self):
            super().__init__(3)
            self.samples[1] = Sample(f"odd/{'x' * 260}/0001")

    result = run(tmp_path / "run", dataset=Long())
    assert [name[:5] for name, _ in result.failed] == ["odd/x"]
    assert "does not support this id" in result.failed[0][1]
    assert result.made == 2


def test_boxes_are_loaded_only_where_wanted(tmp_path):
    class WithBoxes(NearestColour):
        needs_boxes = True

        def seed(self, loaded):
            assert loaded.boxes.xyxy.shape == (len(loaded.boxes.classes), 4)
            return super().seed(loaded)

    class WithoutBoxes(NearestColour):
        def seed(self, loaded):
            assert loaded.boxes is None
            return super().seed(loaded)

    assert run(tmp_path / "with", seeder=WithBoxes()).exit_status == 0
    assert run(tmp_path / "without", seeder=WithoutBoxes()).exit_status == 0


class Flow(Progress):
    """Counts images between decoding and the end of writing."""

    def __init__(self):
        super().__init__(Console(file=io.StringIO()))
        self.lock = threading.Lock()
        self.now = self.most = 0

    def more(self):
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)

    def step(self, *, failed):
        with self.lock:
            self.now -= 1
        super().step(failed=failed)


def peaks(folder):
    """Print the traced memory at most of a run over few images and of one over many, and the images in the pipeline."""
    flow = Flow()

    class Watched(Painted):
        def image(self, sample):
            flow.more()
            return super().image(sample)

    for images in (40, 300):
        tracemalloc.start()
        run(folder / str(images), dataset=Watched(images, side=150), progress=flow)
        print(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    print(flow.now, flow.most)


def test_memory_does_not_grow_with_the_number_of_images(tmp_path):
    """Decoding and writing run ahead and behind by a few images, whichever is the slow one.

    Measured in a process of its own, because what threads of other tests allocate would be counted too.
    """
    code = f"from pathlib import Path; from tests.run.test_generate import peaks; peaks(Path({str(tmp_path)!r}))"
    root = Path(__file__).parents[2]
    out = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True).stdout
    few, many, now, most = map(int, out.split())
    assert now == 0
    assert most <= 10  # 2 decoded ahead, 1 in hand and 1 drawn after it, 4 written, 1 handed over
    # An image has 67 kB here and its mask 22 kB; what stays is its id and, at the end, its record. How many
    # images are in memory at the peak depends on the threads, which the margin allows for.
    assert many < few + 260 * 10_000


def test_short_progress_without_a_terminal_is_two_lines(tmp_path):
    text = io.StringIO()
    run(tmp_path / "run", dataset=Painted(5, broken=[1]), progress=Progress(Console(file=text)))
    first, last = text.getvalue().splitlines()
    assert first == "seeding 5 images"
    assert last.startswith("5 of 5 images done in")
    assert last.endswith("1 failed")


def test_progress_at_a_terminal_shows_rate_time_left_and_failures(tmp_path):
    text = io.StringIO()
    progress = Progress(Console(file=text, force_terminal=True, width=120))
    run(tmp_path / "run", dataset=Painted(30, broken=[1]), progress=progress, seeder=NearestColour(pause=0.02))
    shown = text.getvalue()
    assert "30/30" in shown
    assert "images/s" in shown
    assert "0 s left" in shown
    assert "1 failed" in shown


def test_images_behind_urls_are_copied_as_they_are(tmp_path):
    system = pytest.importorskip("fsspec").filesystem("memory")
    system.store.clear()
    for number in range(2):
        Image.fromarray(paint(number)[0]).save(tmp_path / f"{number}.jpg", quality=95)
    Image.fromarray(paint(2)[0]).convert("P").save(tmp_path / "2.png")  # readers differ in palette images
    system.pipe({f"/photos/{path.name}": path.read_bytes() for path in tmp_path.iterdir()})
    seeder = NearestColour()
    result = generate(Folder(Source("memory://photos"), CLASSES), seeder, tmp_path / "run", settings=seeder.settings)
    assert result.made == 3
    for number in range(2):
        assert (tmp_path / f"run/JPEGImages/{number}.jpg").read_bytes() == (tmp_path / f"{number}.jpg").read_bytes()
    with Image.open(tmp_path / "run/JPEGImages/2.jpg") as copy:
        assert (copy.format, copy.mode) == ("PNG", "RGB")
    with Manifest(tmp_path / "run") as manifest:
        for id, record in manifest.items():
            content = next(tmp_path.glob(f"{id}.*")).read_bytes()
            assert record.image == Stamp(len(content), 0, hashlib.sha256(content).hexdigest())
            assert record.source == f"memory://photos/{next(tmp_path.glob(f'{id}.*')).name}"
    system.store.clear()
