"""``wsss-seed status``: what it prints of a run, and while it watches one."""

from __future__ import annotations

import json

from wsss_seed.cli import status as command


def test_a_finished_run(cli):
    assert cli("generate", "--dataset", "toyland", "--images", 3, "--device", "cpu", "--out", "seeds").returncode == 0
    done = cli("status", "seeds")
    assert done.returncode == 0
    assert done.stdout == "3 of 3 images done, not running\n"
    assert cli("status", "seeds", "--watch").stdout == done.stdout
    found = json.loads(cli("status", "seeds", "--json").stdout)
    assert (found["done"], found["left"], found["complete"]) == (3, 0, True)


def test_shards_that_are_missing(cli):
    part = ("generate", "--dataset", "toyland", "--images", 5, "--device", "cpu", "--out", "seeds", "--shard")
    assert cli(*part, "1/3").returncode == 0
    assert cli("status", "seeds").stdout == "2 of 5 images done, 3 left, not running\n"
    assert cli(*part, "2/3").returncode == 0
    assert cli(*part, "3/3").returncode == 0
    assert cli("status", "seeds").stdout == "5 of 5 images done, not running\n"


def test_watching(tmp_path, monkeypatch, capsys):
    """The run of another process, looked at until it has ended."""
    from wsss_seed.output.status import RunStatus

    looks = [
        RunStatus(tmp_path, 4, n, 0, n < 4, int(n < 4), 0, 0.5, 2.0 * (4 - n) or None, 1.0, ()) for n in (1, 1, 3, 4)
    ]
    monkeypatch.setattr("wsss_seed.output.status.status", lambda _: looks.pop(0))
    monkeypatch.setattr(command, "PAUSE", 0.0)
    command.status(tmp_path, watch=True, json=False)
    assert capsys.readouterr().out.splitlines() == [
        "1 of 4 images done, 3 left, running in 1 process, 2.0 s/image, about 6 s left",
        "3 of 4 images done, 1 left, running in 1 process, 2.0 s/image, about 2 s left",
        "4 of 4 images done, not running, 2.0 s/image",
    ]


def test_no_run(cli):
    done = cli("status", "nothing")
    assert done.returncode == 2
    assert "no such folder" in done.stderr
