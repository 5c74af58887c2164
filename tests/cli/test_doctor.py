"""What doctor finds, and what it says is wrong."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from tests.models.own_checkpoint import DATA


def test_doctor(networked, home: Path):
    result = networked("doctor", "--json", HF_HOME=str(home / "hf"))
    assert result.returncode == 0, result.stdout
    report = json.loads(result.stdout)
    assert report["problems"] == 0
    by_name = {f["name"]: f for f in report["findings"]}
    assert by_name["torch"]["state"] == "ok"
    assert by_name["groundingdino"]["text"] == "can be imported"
    assert by_name["model set tiny"]["text"] == "complete"
    assert by_name["model set base"]["remedy"] == "wsss-seed models pull base"
    assert str(home) in str(report)
    assert "online" in by_name


def test_doctor_measures_time(networked, home: Path):
    result = networked("doctor", "--time", "--models", "tiny", "--json", HF_HOME=str(home / "hf"))
    assert result.returncode == 0, result.stdout
    times = [f for f in json.loads(result.stdout)["findings"] if f["topic"] == "time"]
    assert [f["name"] for f in times] == ["clip tiny", "sam tiny", "detector tiny", "model set tiny"]
    assert re.search(r"about \d+\.\d s per image .* on cpu, .* per 1,000 images", times[-1]["text"])
    unknown = networked("doctor", "--time", "--models", "tinny")
    assert unknown.returncode == 2
    assert "unknown model set 'tinny'" in unknown.stderr


def test_a_torchvision_for_another_torch(networked, home: Path, tmp_path: Path):
    """The pair that an index of CPU builds and one of CUDA builds give together; torchvision raises a RuntimeError."""
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision/__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    result = networked("doctor", PYTHONPATH=path, HF_HOME=str(home / "hf"))
    assert result.returncode == 1, result.stderr
    assert "! torchvision: cannot be imported (operator torchvision::nms does not exist)" in result.stdout
    assert result.stderr == ""
    result = networked(
        "generate", "--dataset", "toyland", "--images", "1", "--out", str(tmp_path / "out"), PYTHONPATH=path
    )
    assert result.returncode == 2
    assert result.stderr.startswith("error: torchvision was built for another torch; install both from the same index")
    assert len(result.stderr.splitlines()) == 1


def test_doctor_says_what_is_wrong(networked, home: Path, mine: Path, tmp_path: Path):
    mine.parent.mkdir()
    mine.write_bytes(DATA[:-1])
    broken = tmp_path / "site"  # a library that cannot be imported, as where a system library is missing
    broken.mkdir()
    (broken / "segment_anything.py").write_text("raise ImportError('libGL.so.1: cannot open shared object file')")
    (broken / "groundingdino.py").write_text("raise ImportError('libGL.so.1: cannot open shared object file')")
    path = os.pathsep.join([str(broken), os.environ.get("PYTHONPATH", "")])
    result = networked("doctor", WSSS_SEED_OFFLINE="1", PYTHONPATH=path, HF_HOME=str(broken / "groundingdino.py"))
    assert result.returncode == 1
    assert "! mine: " in result.stdout
    assert "! segment_anything: cannot be imported (libGL.so.1" in result.stdout
    assert "apt-get install libgl1" in result.stdout
    assert "- offline: WSSS_SEED_OFFLINE is set" in result.stdout
    assert "not writable; choose another with HF_HOME" in result.stdout
    assert result.stderr == ""
