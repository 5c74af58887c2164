"""The command line of imports."""

import json
import zipfile

import numpy as np

from tests.output.editors import correct, in_use, repaint
from tests.output.odd_run import label_maps, write_run


def test_the_command(cli, tmp_path):
    run = write_run(tmp_path / "run", tmp_path / "photos")
    assert cli("export", "cvat", run, "out", "--worst", 3, "--json").returncode == 0
    with zipfile.ZipFile(tmp_path / "out" / "segmentation_mask.zip") as archive:
        archive.extractall(tmp_path / "voc")
    for path in (tmp_path / "voc" / "SegmentationClass").iterdir():
        if not path.name.startswith("void"):
            repaint(path, (0, 0, 5, 3), (255, 0, 0))
    dry = cli("import", "cvat", run, "voc", "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert dry.stdout == "2 masks would be corrected, 1 unchanged\n"
    assert not (run / "Corrections").exists()
    correct(run, "rings", label_maps()["ring"])
    result = cli("import", "cvat", run, "voc", "--by", "Bob", "--json")
    assert result.returncode == 1
    found = json.loads(result.stdout)
    assert len(found["changed"]) == 1
    assert [skipped["id"] for skipped in found["skipped"]] == ["rings"]
    assert "rings: not imported, reviewed since the export by Ann (brush); use --overwrite" in result.stderr
    np.testing.assert_array_equal(in_use(run, "rings"), label_maps()["ring"])
    again = cli("import", "cvat", run, "voc", "--overwrite")
    assert again.stdout == "1 mask corrected, 2 unchanged\n"
    assert '"by":"Bob"' in (run / "Corrections" / "log.jsonl").read_text()


def test_wrong_usage_is_one_line(cli, tmp_path):
    run = write_run(tmp_path / "run", tmp_path / "photos")
    for arguments, text in (
        (("cvat", run, "nowhere.zip"), "no such file"),
        (("cvat", "nowhere", "x.zip"), "nowhere: no such folder"),
        (("cvta", run, "x.zip"), "Did you mean 'cvat'?"),
        (("cvat", run, run), "holds no masks of CVAT; give"),
    ):
        wrong = cli("import", *arguments)
        assert wrong.returncode == 2
        assert text in wrong.stderr
        assert wrong.stderr.count("\n") == 1
