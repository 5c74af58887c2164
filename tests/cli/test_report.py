"""The command line of reports."""

import json

import pytest


def test_the_command(cli, tmp_path):
    assert cli("generate", "--dataset", "toyland", "--images", 4, "--out", "seeds").returncode == 0
    plain = cli("report", "seeds")
    assert plain.returncode == 0, plain.stderr
    assert "4 images, mIoU " in plain.stdout
    assert "seeds/report.html" in plain.stdout
    compared = cli(
        "report", "seeds", "--dataset", "toyland", "--images", 4, "--out", "page.html", "--limit", 2, "--json"
    )
    result = json.loads(compared.stdout)
    scores = json.loads(cli("evaluate", "--pred", "seeds", "--dataset", "toyland", "--images", 4, "--json").stdout)
    assert scores == json.loads(cli("evaluate", "--pred", "seeds", "--json").stdout)
    assert result["miou"] == pytest.approx(scores["miou"])
    assert (result["images"], result["shown"], result["bytes"]) == (4, 2, (tmp_path / "page.html").stat().st_size)
    for arguments, part in (
        (("nowhere",), "nowhere"),
        (("seeds", "--gt", "seeds", "--dataset", "toyland"), "one of them"),
        (("seeds", "--dataset", "toylnd"), "Did you mean 'toyland'?"),
    ):
        wrong = cli("report", *arguments)
        assert wrong.returncode == 2
        assert part in wrong.stderr
        assert "Traceback" not in wrong.stderr
    again = cli("generate", "--dataset", "toyland", "--images", 4, "--out", "seeds", "--json")
    assert json.loads(again.stdout)["skipped"] == 4  # the page in the run folder is in nobody's way


def test_a_folder(cli, tmp_path):
    assert cli("generate", "--dataset", "toyland", "--images", 3, "--out", "seeds").returncode == 0
    done = cli("report", "seeds", "--folder", "site", "--json")
    assert done.returncode == 0, done.stderr
    files = [path for path in (tmp_path / "site").rglob("*") if path.is_file() and path.name != "export.json"]
    result = json.loads(done.stdout)
    assert (result["out"], result["shown"]) == ("site", 3)
    assert result["bytes"] == sum(path.stat().st_size for path in files)
    again = cli("report", "seeds", "--folder", "site", "--limit", 1)
    assert "3 images, mIoU " in again.stdout
    assert "the 1 worst shown" in again.stdout
    assert "page: site/index.html" in again.stdout
    (tmp_path / "site" / "mine.txt").write_text("mine")
    for arguments, part in (
        (("--folder", "site"), "holds what no export wrote (mine.txt)"),
        (("--folder", "seeds"), "seeds: lies in the run folder"),
        (("--folder", "a", "--out", "b.html"), "--out b.html and --folder a: give one of them"),
        (("--out", "site"), "site: a folder; give the file to write, or a new folder with --folder"),
    ):
        wrong = cli("report", "seeds", *arguments)
        assert wrong.returncode == 2
        assert part in wrong.stderr
        assert "Traceback" not in wrong.stderr


def test_against_another_run(cli, tmp_path):
    for name, images in (("one", 3), ("two", 4)):
        arguments = ("--dataset", "toyland", "--images", images, "--out", name)
        assert cli("generate", *arguments, "--set", f"detector.box_threshold=0.{images}").returncode == 0
    done = cli("report", "one", "--against", "two")
    assert done.returncode == 0, done.stderr
    assert "3 images in common, " in done.stdout
    assert " % against " in done.stdout
    assert "without a partner: 1 of two" in done.stdout
    assert (tmp_path / "one" / "report-against-two.html").is_file()
    result = json.loads(cli("report", "one", "--against", "two", "--folder", "site", "--json").stdout)
    assert (result["images"], result["only"]) == (3, [0, 1])
    wrong = cli("report", "one", "--against", "nowhere")
    assert wrong.returncode == 2
    assert "nowhere: no such folder" in wrong.stderr
