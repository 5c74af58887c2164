"""``wsss-seed fetch``, and what other commands say of URLs."""

from __future__ import annotations

import json
import os

import pytest

from tests.io.object_storage import bucket, s3, s3_server  # noqa: F401


@pytest.fixture
def storage(bucket):  # noqa: F811
    """URL for a run, and the environment that finds the server."""
    return f"{bucket}/seeds", {name: value for name, value in os.environ.items() if name.startswith("AWS_")}


def test_a_run_on_object_storage_from_generate_to_report(cli, storage, tmp_path):
    url, environment = storage
    common = ("generate", "--dataset", "toyland", "--images", 2, "--device", "cpu")
    made = cli(*common, "--out", url, env=environment)
    assert made.returncode == 0, made.stderr
    assert f"masks: {url}/SegmentationClass" in made.stdout
    assert f"next: wsss-seed fetch {url} DIR copies the run; then wsss-seed report DIR" in made.stderr
    again = cli(*common, "--out", url, env=environment)
    assert "0 masks generated, 2 already finished" in again.stdout
    for command, said in (
        (("status", url), "2 of 2 images done, not running"),
        (("verify", url), "2 of 2 finished images are whole"),
        (("merge", url), "merged: 2 images done"),
        (("evaluate", "--pred", url, "--dataset", "toyland", "--images", 2), "mIoU"),
    ):
        result = cli(*command, env=environment)
        assert (result.returncode, said in result.stdout) == (0, True), result.stdout + result.stderr
    refused = cli("report", url, env=environment)
    assert refused.returncode == 2
    assert f"this command works on local runs; copy it first: wsss-seed fetch {url} DIR" in refused.stderr
    copied = cli("fetch", url, "copy", env=environment)
    assert (copied.returncode, copied.stdout) == (0, "2 masks copied to copy\n"), copied.stderr
    assert cli("fetch", url, "copy", env=environment).stdout == "0 masks copied to copy, 2 were there\n"
    assert cli(*common, "--out", "local").returncode == 0
    for path in (tmp_path / "local").rglob("*.png"):
        assert path.read_bytes() == (tmp_path / "copy" / path.relative_to(tmp_path / "local")).read_bytes()
    assert cli("report", "copy").returncode == 0
    assert cli("export", "mmseg", "copy", "exported").returncode == 0
    about = json.loads((tmp_path / "copy" / "run.json").read_text())
    assert about["command"].endswith(f"--out {url}")


def test_what_fetch_refuses(cli, storage, tmp_path):
    url, environment = storage
    (tmp_path / "folder").mkdir()
    for arguments, said in (
        (("fetch", "folder", "copy"), "folder: a folder, which needs no copy; give the URL of a run"),
        (("fetch", url, "copy"), f"{url}: no such folder; give the folder of a run"),
    ):
        result = cli(*arguments, env=environment)
        assert result.returncode == 2
        assert said in result.stderr
    assert not (tmp_path / "copy").exists()


def test_generate_with_evidence_needs_a_folder(cli, storage):
    url, environment = storage
    result = cli("generate", "--dataset", "toyland", "--images", 2, "--out", url, "--keep-evidence", env=environment)
    assert (result.returncode, "--keep-evidence needs a local folder" in result.stderr) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (("proposals", "--dataset", "toyland", "--out", "s3://me:hush@b/x"), "--out"),
        (("export", "coco", "seeds", "gs://b/x"), "out"),
        (("train-seg", "seeds", "--out", "s3://b/x"), "--out"),
    ],
)
def test_urls_where_paths_belong(cli, tmp_path, arguments, option):
    result = cli(*arguments)
    assert result.returncode == 2
    assert f"a URL, but {option} takes a local path" in result.stderr
    assert "hush" not in result.stderr
    assert not [*tmp_path.glob("*s*:*")]  # pathlib would make a folder s3:


def test_credentials_in_the_url_are_not_shown(cli, storage):
    url, environment = storage
    secret = url.replace("s3://", "s3://me:hush@")
    for arguments in (("status", secret), ("generate", "--dataset", "toyland", "--images", 1, "--out", secret)):
        result = cli(*arguments, env=environment)
        assert result.returncode == 2
        assert "hush" not in result.stdout + result.stderr
