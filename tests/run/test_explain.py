"""The explanation of a mask, from the run folder."""

import json
from typing import ClassVar

import pytest

import wsss_seed as ws
from wsss_seed.errors import ImageError, RunFolderError, UsageError
from wsss_seed.output.manifest import Record
from wsss_seed.run.explain import evidence_of, explain, explain_seed
from wsss_seed.types import LoadedSample


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    data = ws.open_dataset("toyland", images=4, labels="none", difficulty="hard")
    out = tmp_path_factory.mktemp("explain") / "seeds"
    return ws.generate(data, out=out, models="tiny", device="cpu", progress=False)


def test_it_agrees_with_the_record(run):
    for record in run.records:
        found = run.explain(record.id)
        assert len(found.boxes) == len(record.evidence["detections"]) == len(found.reasons)
        assert all(found.reasons)
        asked = {c.name: c for c in found.classes if c.asked}
        assert set(record.scores) <= set(asked)
        assert [c.clip for c in asked.values()] == [record.evidence["clip"][found.names.index(name)] for name in asked]
        for name, entry in asked.items():
            assert sum(entry.boxes.values()) == sum(box.cls == name for box in found.boxes)
            assert entry.pixels == record.pixels.get(name, 0)
        others = [c.clip for c in found.classes if not c.asked]
        assert others == sorted(others, reverse=True)
        assert json.loads(json.dumps(found.to_json()))["boxes"] == [
            entry | {"why": reason} for entry, reason in zip(record.evidence["detections"], found.reasons, strict=True)
        ]


def test_why_each_class_was_asked(run):
    """Label-free, each candidate names the threshold that it met; one that only the detector saw names the
    detector's."""
    seen, settings = set(), json.loads((run.path / "run.json").read_bytes())["settings"]["backend"]
    for record in run.records:
        found = run.explain(record.id)
        for c in found.classes:
            if not c.asked:
                seen.add("others")
                assert f"below clip.global_threshold {settings['clip.global_threshold']:g} and " in c.why
                continue
            key, value = record.evidence["asked"][c.name]
            seen.add(key)
            assert settings[key] <= value
            assert f"{value:.3f} >= {key} " in c.why
    assert {"clip.global_threshold", "clip.local_threshold", "others"} <= seen


def test_why_of_labels_and_of_older_runs(tmp_path):
    given = ws.generate("toyland", images=2, out=tmp_path / "given", models="tiny", device="cpu", progress=False)
    assert all(c.why is None for record in given.records for c in given.explain(record.id).classes)
    few = {"clip.global_threshold": 1.0, "clip.local_threshold": 1.0, "detector.candidate_threshold": 1.0}
    options = {"labels": "none", "models": "tiny", "device": "cpu", "progress": False}
    free = ws.generate("toyland", images=1, out=tmp_path / "free", settings=few, **options)
    (record,) = free.records
    (asked,) = (c for c in free.explain(record.id).classes if c.asked)
    assert "the class that CLIP sees most" in asked.why
    wide = ws.generate("toyland", images=1, out=tmp_path / "w", settings={"clip.decision": "none"}, **options)
    assert all(c.why is None for c in wide.explain(record.id).classes)


def test_the_picture_has_the_boxes(run):
    record = max(run.records, key=lambda record: len(record.evidence["detections"]))
    found = run.explain(record.id)
    assert len(found.boxes) > 2
    picture = found.picture()
    colours = {colour for _, colour in picture.getcolors(2**24)}
    palette = dict(zip(found.names, run.content.palette[1:], strict=False))
    assert {palette[box.cls] for box in found.boxes if box.role != "dropped"} <= colours
    assert max(picture.size) >= 1000


@pytest.mark.parametrize("name", ["test_000001", "test_000001.jpg", "some where/test_000001.png", "a\\test_000001.png"])
def test_an_image_by_its_file_name(run, name):
    assert explain(run.path, name).record.id == "test_000001"


def test_unknown_images(run):
    with pytest.raises(UsageError, match=r"no image test_00001\.jpg; the most similar: .*test_000001"):
        explain(run.path, "test_00001.jpg")
    with pytest.raises(UsageError, match=r"ids are in manifest\.jsonl"):
        explain(run.path, "?")


def test_not_a_run(tmp_path, run):
    with pytest.raises(RunFolderError, match="not a run folder"):
        explain(tmp_path, "x")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"settings": "0"}, "seeded with other settings"),
        ({"evidence": {"mode": "label_free", "detections": [{}]}}, "damaged"),
        ({"evidence": {"mode": "label_free", "clip": [1]}}, "CLIP's scores of 1 classes, but there are 12"),
    ],
)
def test_records_that_cannot_be_explained(run, tmp_path, change, text):
    line = json.loads((run.path / "manifest.jsonl").read_text("utf-8").splitlines()[0]) | change
    (tmp_path / "manifest.jsonl").write_text(json.dumps(line) + "\n")
    (tmp_path / "run.json").write_bytes((run.path / "run.json").read_bytes())
    with pytest.raises(RunFolderError, match=text):
        explain(tmp_path, line["id"])


def test_a_backend_without_boxes(tmp_path):
    data = ws.open_dataset("toyland", images=1, labels="masks")
    out = tmp_path / "seeds"
    run = ws.generate(data, out=out, backend="clip-sams", models="tiny", device="cpu", progress=False)
    found = run.explain("test_000000")
    assert found.mode is None
    assert found.boxes == ()
    assert found.to_json()["evidence"]["masks"] > 0
    assert all(c.given for c in found.classes)


def test_the_evidence_for_the_report_is_that_of_the_explanation(run):
    evidence = evidence_of(run.path)
    for record in run.records:
        found, explanation = evidence(record), run.explain(record.id)
        assert [(b.cls, b.box, b.score, b.crop, b.final, b.role) for b in found.boxes] == [
            (b.cls, b.box, b.score, b.crop_probability, b.final, b.role) for b in explanation.boxes
        ]
        assert tuple(b.why for b in found.boxes) == explanation.reasons
        assert list(found.clip.values()) == record.evidence["clip"]


def test_damaged_evidence_is_a_note_of_the_report(run):
    found = evidence_of(run.path)(Record("x", "ok", evidence={"mode": "label_free", "detections": [{}]}))
    assert "the evidence of x is damaged" in found.note
    assert found.boxes == ()


def test_no_run_has_no_evidence(tmp_path):
    assert evidence_of(tmp_path)(Record("x", "ok", evidence={"clip": [1]})).clip == {}


class _Foreign:
    settings: ClassVar = {"a.threshold": 1}
    needs_boxes = False


def test_a_seed_without_a_run_folder(run):
    """Explained like the record of a run; evidence that does not fit, of another package, is an error of the image."""
    loaded = ws.load(classes="toyland", models="tiny", device="cpu", mode="label_free")
    seeder = loaded._seeder
    world = ws.open_dataset("toyland", images=4, labels="none", difficulty="hard")
    for sample in world:
        image = world.image(sample)
        found = explain_seed(sample, seeder.seed(LoadedSample(sample, image)), world.class_set, image, seeder)
        kept = run.explain(sample.id)
        assert (found.boxes, found.reasons, found.classes) == (kept.boxes, kept.reasons, kept.classes)
        assert found.picture().size == kept.picture().size
        with pytest.raises(ImageError, match=f"{sample.id}: its mask cannot be explained"):
            explain_seed(sample, seeder.seed(LoadedSample(sample, image)), world.class_set, image, _Foreign())
