"""``wsss-seed settings``."""

import json

import pytest

from wsss_seed.cli.settings import SETTINGS
from wsss_seed.config import flatten
from wsss_seed.seeding.dino_sam import Settings


def test_every_setting_of_a_backend_is_listed(cli):
    done = cli("settings", "dino-sam")
    assert done.returncode == 0, done.stderr
    for key, value in flatten(Settings()).items():
        assert f"  {key} = {json.dumps(value)}" in done.stdout
    assert "detector.box_threshold = 0.3    (number 0 to 1)" in done.stdout
    assert "score above which a box is confident" in done.stdout


def test_all_of_them_as_json(cli):
    listed = json.loads(cli("settings", "--json").stdout)
    assert list(listed) == list(SETTINGS)
    assert {s["key"]: s["default"] for s in listed["dino-sam"]} == flatten(Settings())
    assert all(s["meaning"] and s["values"] for entries in listed.values() for s in entries)


@pytest.mark.parametrize("name", ["dino-sams", "train"])
def test_an_unknown_name(cli, name):
    done = cli("settings", name)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: unknown backend or command '{name}'; known: ")
