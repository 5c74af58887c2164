"""What counts as another run, and what does not."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.run.painted import Painted
from wsss_seed.data.classes import load_class_set
from wsss_seed.models.zoo import ModelSet
from wsss_seed.output.identity import (
    PROMPTING,
    class_set_content,
    class_set_from_content,
    files_digest,
    identity,
    labels_digest,
)
from wsss_seed.output.run_folder import settings_difference


def class_file(path: Path, text: str):
    path.write_text(text)
    return class_set_content(load_class_set(path))


@pytest.mark.parametrize(
    ("text", "difference"),
    [
        ("cat: kitten\ndog\n", 'phrases.cat ["cat"] -> ["kitten"]'),
        ("cat\ndoge\n", 'names ["cat", "dog"] -> ["cat", "doge"]'),
        ("dog\ncat\n", 'names ["cat", "dog"] -> ["dog", "cat"]'),
    ],
)
def test_a_class_set_counts_by_its_content(tmp_path, text, difference):
    before = class_file(tmp_path / "classes.txt", "cat\ndog\n")
    assert class_file(tmp_path / "renamed.txt", "cat\ndog\n") == before
    assert difference in settings_difference(before, class_file(tmp_path / "classes.txt", text))


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ('background = ["grass", "sea"]', "background"),
        ("max_candidates = 3", "max_candidates"),
        ("palette = [[1, 2, 3]]", "palette"),
        ('thresholds."detector.box_threshold" = { cat = 0.4 }', "thresholds.detector.box_threshold.cat"),
    ],
)
def test_everything_in_a_class_file_counts(tmp_path, line, key):
    text = 'classes = [{ name = "cat" }]\n'
    (tmp_path / "a.toml").write_text(text)
    (tmp_path / "b.toml").write_text(f"{line}\n{text}")
    before, after = (class_set_content(load_class_set(tmp_path / name)) for name in ("a.toml", "b.toml"))
    assert settings_difference(before, after).startswith(key)


def test_what_learned_prompts_depend_on(tmp_path):
    assert class_file(tmp_path / "a.txt", "cat\n").keys() > set(PROMPTING)
    classes = load_class_set("toyland")
    more = replace(classes, phrases=(("another",), *classes.phrases[1:]))
    assert class_set_content(more) != class_set_content(classes)
    assert class_set_content(more, PROMPTING) == class_set_content(classes, PROMPTING)


def test_only_a_drawn_world_has_a_seed():
    data = Painted(3)
    assert "seed" not in identity(data, {})["dataset"]
    data.drawn, data.seed = True, 4
    assert identity(data, {})["dataset"]["seed"] == 4


def test_digests(tmp_path):
    samples = [replace(sample, labels=(1,)) for sample in Painted(3)]
    assert labels_digest(samples) == labels_digest(list(samples))
    assert labels_digest(samples) != labels_digest([*samples[1:], replace(samples[0], labels=(2,))])
    for name in "ab":
        (tmp_path / name).write_text(name)
    paths = [tmp_path / name for name in "ab"]
    assert files_digest(paths) == files_digest(list(paths)) != files_digest(paths[::-1])
    assert files_digest([tmp_path / "none"]) != files_digest([])


# ---- through the command


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    from wsss_seed.data.toyland.tree import write_tree

    write_tree(tmp_path / "tree", "test", 4, 3)
    shutil.copytree(tmp_path / "tree" / "JPEGImages", tmp_path / "photos")
    return tmp_path / "photos"


def command(*more: object) -> list[object]:
    return ["generate", "--dataset", "folder", "--root", "photos", "--models", "tiny", "--out", "seeds", *more]


def test_an_edited_class_file_is_refused(cli, photos, tmp_path):
    (tmp_path / "classes.txt").write_text("car\nfish\n")
    run = command("--classes", "classes.txt", "--json")
    assert cli(*run, "--limit", 2).returncode == 0  # broken off, as it were
    before = (tmp_path / "seeds" / "manifest.jsonl").read_bytes()
    (tmp_path / "classes.txt").write_text("car: automobile, car\nfish\n")
    refused = cli(*run)
    assert refused.returncode == 2
    assert 'class_set.phrases.car ["car"] -> ["automobile", "car"]' in refused.stderr
    assert (tmp_path / "seeds" / "manifest.jsonl").read_bytes() == before
    (tmp_path / "classes.txt").rename(tmp_path / "moved.txt")
    (tmp_path / "moved.txt").write_text("car\nfish\n")
    again = cli(*command("--classes", "moved.txt", "--json"))
    assert (json.loads(again.stdout)["skipped"], json.loads(again.stdout)["made"]) == (2, 2)


def test_edited_labels_are_refused(cli, photos, tmp_path):
    ids = sorted(path.stem for path in photos.iterdir())
    rows = "".join(f"{id},car\n" for id in ids)
    (tmp_path / "labels.csv").write_text(f"image,label\n{rows}")
    run = command("--classes", "car, fish", "--json")
    assert cli(*run, "--labels", "labels.csv").returncode == 0
    os.utime(tmp_path / "labels.csv", ns=(1, 1))
    assert json.loads(cli(*run, "--labels", "labels.csv").stdout)["skipped"] == 4
    (tmp_path / "labels.csv").rename(tmp_path / "moved.csv")
    assert json.loads(cli(*run, "--labels", "moved.csv").stdout)["skipped"] == 4
    (tmp_path / "moved.csv").write_text(f"image,label\n{rows}{ids[1]},fish\n")
    refused = cli(*run, "--labels", "moved.csv")
    assert refused.returncode == 2
    assert f"other image-level labels ({ids[1]}: car -> car, fish)" in refused.stderr
    unlabelled = cli(*run, "--labels", "none")
    assert unlabelled.returncode == 2
    assert 'labels "given" -> "none"' in unlabelled.stderr


def test_new_photographs_with_labels_join_a_run(cli, photos, tmp_path):
    first, *others = sorted(photos.iterdir())
    first.rename(tmp_path / first.name)
    rows = "".join(f"{path.stem},car\n" for path in others)
    (tmp_path / "labels.csv").write_text(f"image,label\n{rows}")
    run = command("--classes", "car, fish", "--labels", "labels.csv", "--json")
    assert json.loads(cli(*run).stdout)["made"] == 3
    (tmp_path / first.name).rename(first)
    (tmp_path / "labels.csv").write_text(f"image,label\n{first.stem},fish\n{rows}")
    result = json.loads(cli(*run).stdout)
    assert (result["made"], result["skipped"]) == (1, 3)
    described = json.loads((tmp_path / "seeds" / "run.json").read_text())
    assert described["settings"]["class_set"]["phrases"] == {"car": ["car"], "fish": ["fish"]}
    assert described["labels"]["source"].endswith("labels.csv")


@pytest.mark.parametrize("name", ["voc", "coco", "toyland", "cat, dog, -toy cat"])
def test_a_class_set_is_its_content(name):
    classes = load_class_set(name)
    content = json.loads(json.dumps(class_set_content(classes)))
    assert class_set_from_content(content, classes.name) == classes


def test_a_model_set_may_lack_a_model():
    """The set sam3 has no detector."""
    found = identity(Painted(1), {}, ModelSet("sam3", "cpu"))
    assert found["models"] == {"clip": "PE-Core-L-14-336:meta", "sam": "hf:facebook/sam3"}
