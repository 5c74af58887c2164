"""Where settings come from: option, environment, config file, default."""

import json
from pathlib import Path

import pytest

from wsss_seed.cli.options import parse_setting
from wsss_seed.config import dotted
from wsss_seed.errors import WsssError


def test_nested_tables_become_dotted_keys():
    assert dotted({"detector": {"box_threshold": 0.3, "caption": "joint"}, "mode": "label_free"}) == {
        "detector.box_threshold": 0.3,
        "detector.caption": "joint",
        "mode": "label_free",
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("detector.box_threshold=0.25", ("detector.box_threshold", 0.25)),
        ("mode=label_free", ("mode", "label_free")),
        ("verify.enabled=false", ("verify.enabled", False)),
        ("clip.grids=[2, 3]", ("clip.grids", [2, 3])),
        ("fusion.order='area'", ("fusion.order", "area")),
    ],
)
def test_set_reads_toml_values_and_bare_words(text, expected):
    assert parse_setting(text) == expected


@pytest.mark.parametrize("text", ["detector.box_threshold", "=3"])
def test_set_without_key_or_value_is_refused(text):
    with pytest.raises(WsssError, match="KEY=VALUE"):
        parse_setting(text)


def test_option_goes_before_environment_before_config(cli, tmp_path: Path):
    config = tmp_path / "c.toml"
    config.write_text('dataset = "toyland"\nimages = 3\nlimit = 1\nseed = 5\n[settings]\nmode = "label_free"\n')

    def run(name: str, *args: str, **env: str) -> dict:
        result = cli("generate", "--config", config, "--out", tmp_path / name, "--json", *args, env=env)
        assert result.returncode == 0, result.stderr
        settings = json.loads((tmp_path / name / "run.json").read_text())["settings"]
        return {"images": json.loads(result.stdout)["images"], **settings}

    by_config = run("config")
    assert by_config["images"] == 1
    assert by_config["dataset"]["seed"] == 5
    assert by_config["backend"]["mode"] == "label_free"
    assert run("env", WSSS_SEED_LIMIT="2")["images"] == 2
    assert run("option", "--limit", "3", WSSS_SEED_LIMIT="2")["images"] == 3


def test_unknown_key_in_config_names_the_nearest(cli, tmp_path: Path):
    config = tmp_path / "c.toml"
    config.write_text('datset = "toyland"\n')
    result = cli("generate", "--config", config)
    assert result.returncode == 2
    assert "datset" in result.stderr
    assert "Did you mean 'dataset'" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


DIGITS, NESTED = "1" * 5000, "[" * 5000


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a = ", "not valid TOML"),
        (None, "cannot be read"),
        (f"a = {DIGITS}", "a whole number of too many digits"),
        (f"a = {2**63}", "a whole number of more than 64 bits"),
        (f"a = {NESTED}", "nested too deeply"),
        ("settings." + "a." * 2000 + "b = 1", "nested too deeply"),
        ("settings = [1]", "settings must be a table"),
    ],
    ids=["torn", "missing", "digits", "bits", "nested", "dotted", "no table"],
)
def test_unusable_config(cli, tmp_path: Path, content, message):
    config = tmp_path / "c.toml"
    if content is not None:
        config.write_text(content)
    result = cli("generate", "--config", config, "--dataset", "toyland")
    assert result.returncode == 2
    assert message in result.stderr
    assert str(config) in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("value", [DIGITS, "0x" + "f" * 5000, NESTED], ids=["digits", "hexadecimal", "nested"])
def test_values_that_no_setting_has(cli, value):
    result = cli("generate", "--dataset", "toyland", "--set", f"detector.box_threshold={value}")
    assert result.returncode == 2
    assert result.stderr.startswith("error: --set detector.box_threshold: not valid TOML (")
    assert len(result.stderr.strip().splitlines()) == 1


def test_settings_lists_every_backend_and_command(cli):
    result = cli("settings", "--json")
    assert result.returncode == 0, result.stderr
    listed = json.loads(result.stdout)
    assert set(listed) == {"dino-sam", "clip-sams", "sam3", "learn-prompts", "train-seg", "self-training", "predict"}
    assert "detector.box_threshold" in {setting["key"] for setting in listed["dino-sam"]}
    assert "sams.background_exponent" in {setting["key"] for setting in listed["clip-sams"]}
    assert all(setting["meaning"] for settings in listed.values() for setting in settings)
