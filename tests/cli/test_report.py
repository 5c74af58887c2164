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
