"""The folder of an export is replaced as a whole or not at all, whenever the process is killed."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.output.odd_run import content, label_maps
from wsss_seed.errors import WsssError
from wsss_seed.output.export import export
from wsss_seed.output.folder import whole_folder


def test_a_full_disk_leaves_the_former_export(run, tmp_path, monkeypatch):
    out = tmp_path / "out"
    export("mmseg", run, out)
    before = content(out)
    real = os.replace

    def full(source, target):
        if Path(target).name == "train.txt":
            raise OSError(28, "No space left on device")
        real(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(WsssError, match="No space left on device"):
        export("mmseg", run, out, overwrite=True)
    assert content(out) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "photos", "run"]


def test_interrupted_nothing_is_left_behind(run, tmp_path, monkeypatch):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("wsss_seed.output.export.yolo.write_text", interrupt)
    with pytest.raises(KeyboardInterrupt):
        export("yolo", run, tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["photos", "run"]


def killed(run: Path, out: Path, at: str, *options: str) -> None:
    """Export in a process that is killed where ``at`` says, Python for the path that is renamed."""
    code = f"""
import os, sys
from pathlib import Path
from wsss_seed.output.export import export

def trap(event, args):
    if event == "os.rename" and (lambda source, target: {at})(*map(str, args[:2])):
        os._exit(9)

sys.addaudithook(trap)
export("yolo", Path(sys.argv[1]), Path(sys.argv[2]), overwrite=True)
"""
    assert subprocess.run([sys.executable, "-c", code, str(run), str(out)], check=False).returncode == 9


def beside(out: Path) -> list[str]:
    """What lies beside an export, by the end of its name."""
    return sorted("".join(path.suffixes) for path in out.parent.glob(".*.part"))


def test_killed_in_the_middle_nothing_is_there_and_the_next_export_cleans_up(run, tmp_path):
    out = tmp_path / "exports" / "out"
    killed(run, out, "target.endswith('data.yaml')")
    assert not out.exists()
    assert len(beside(out)) == 1
    (foreign := out.with_name(f".{'0' * 16}-{'0' * 16}.new.part")).mkdir()  # of an export to another place
    assert export("yolo", run, out).images == {"train": len(label_maps())}
    assert [p for p in out.parent.iterdir() if p != out] == [foreign]


def test_killed_between_the_renames_the_next_export_puts_the_former_one_back(run, tmp_path):
    out = tmp_path / "exports" / "out"
    export("yolo", run, out)
    before = (out / "data.yaml").stat().st_ino
    killed(run, out, "target.endswith('/out')")
    assert not out.exists()
    assert len(beside(out)) == 2
    with pytest.raises(WsssError, match="use `overwrite`"):
        export("yolo", run, out)
    assert (out / "data.yaml").stat().st_ino == before
    assert not beside(out)
    export("yolo", run, out, overwrite=True)
    assert (out / "data.yaml").stat().st_ino != before


def test_killed_after_the_renames_the_new_export_stands(run, tmp_path):
    out = tmp_path / "exports" / "out"
    export("yolo", run, out)
    before = (out / "data.yaml").stat().st_ino
    killed(run, out, "source.endswith('.old.part')")
    assert (out / "data.yaml").stat().st_ino != before
    assert len(beside(out)) == 1
    export("yolo", run, out, overwrite=True)
    assert not beside(out)


def test_an_export_that_is_under_way_is_left_alone(run, tmp_path):
    out = tmp_path / "exports" / "out"
    with whole_folder(out, False, {}) as first:
        (first / "mine").write_text("1")
        with whole_folder(out, False, {}) as second:
            (second / "theirs").write_text("2")
        assert (first / "mine").exists()
        shutil.rmtree(out)
    assert [p.name for p in out.parent.iterdir()] == ["out"]
    assert (out / "mine").exists()


def test_a_link_is_no_folder_to_export_to(run, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    for name in ("elsewhere", "nowhere"):
        (tmp_path / "link").unlink(missing_ok=True)
        (tmp_path / "link").symlink_to(tmp_path / name)
        with pytest.raises(WsssError, match="not a folder"):
            export("coco", run, tmp_path / "link", overwrite=True)
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize("content", ["x", [["x"]], [1], None])
def test_a_damaged_marker_protects_the_folder(run, tmp_path, content):
    out = tmp_path / "out"
    export("coco", run, out)
    (out / "export.json").write_text(json.dumps({"content": content}))
    before = sorted(path.name for path in out.iterdir())
    with pytest.raises(WsssError, match="holds what no export wrote"):
        export("coco", run, out, overwrite=True)
    assert sorted(path.name for path in out.iterdir()) == before
