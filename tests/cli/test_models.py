"""Commands that list, download and verify models."""

from __future__ import annotations

import json
from pathlib import Path

from tests.models.loopback import Server
from tests.models.own_checkpoint import DATA


def test_pull_verify_list_and_where(networked, mine: Path, server: Server):
    assert json.loads(networked("models", "where", "mine", "--json").stdout)["files"] == [
        {"name": "mine", "path": str(mine)}
    ]
    assert "mine" in networked("models", "list").stdout
    assert networked("models", "verify").stdout == "no checkpoints in the cache yet; run wsss-seed models pull base\n"
    pulled = networked("models", "pull", "my-sam", "tiny")
    assert pulled.returncode == 0, pulled.stderr
    assert f"mine: {mine}" in pulled.stdout
    assert "downloading mine.pth of 21 MB from 127.0.0.1" in pulled.stderr
    assert mine.read_bytes() == DATA
    assert networked("models", "verify").stdout == "mine: verified\n"
    assert networked("models", "pull", "mine").stderr == ""
    assert len(server.asked) == 1
    listed = json.loads(networked("models", "list", "--json").stdout)
    assert next(c for c in listed["checkpoints"] if c["name"] == "mine")["state"] == "verified"
    assert networked("models", "where").stdout.strip() == str(mine.parents[1])


def test_two_commands_pull_the_same_checkpoint(networked, mine: Path, server: Server):
    from concurrent.futures import ThreadPoolExecutor

    server.pause = 0.02
    with ThreadPoolExecutor() as pool:
        results = list(pool.map(lambda _: networked("models", "pull", "mine"), range(2)))
    assert [r.returncode for r in results] == [0, 0], [r.stderr for r in results]
    assert mine.read_bytes() == DATA
    assert server.sent == len(DATA)


def test_a_damaged_file_is_found_and_not_used(networked, mine: Path):
    mine.parent.mkdir()
    mine.write_bytes(DATA[:-1] + bytes([DATA[-1] ^ 1]))
    for command in (("verify",), ("pull", "mine")):
        result = networked("models", *command)
        assert result.returncode == (1 if command == ("verify",) else 2)
        assert f"{mine}: not the published mine (SHA-256 " in result.stderr
        assert "give --sam its path" in result.stderr
    result = networked("generate", "--dataset", "toyland", "--images", 1, "--sam", "mine", "--out", "seeds")
    assert result.returncode == 2
    assert "not the published mine" in result.stderr
    assert mine.is_file()  # a user's file is not taken away
    assert networked("doctor").returncode == 1


def test_unknown_names(networked):
    result = networked("models", "pull", "vit_bb")
    assert result.returncode == 2
    assert "Did you mean 'vit_b'?" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_library_that_keeps_its_own_files_says_where(networked):
    result = networked("models", "pull", "ViT-B-32:laion2b_s34b_b79k", HF_HUB_OFFLINE="1", HF_HOME="/nowhere")
    assert result.returncode == 2
    assert "/nowhere/hub/models--laion--CLIP-ViT-B-32-laion2B-s34B-b79K" in result.stderr


def test_from_the_command_line(cli, permuted: Path):
    result = cli("models", "check", "tiny", "--json")
    assert result.returncode == 0, result.stderr
    checks = json.loads(result.stdout)["checks"]
    assert {c["role"]: c["passed"] for c in checks} == {"clip": True, "detector": True, "sam": True}
    result = cli("models", "check", "tiny", "--sam", permuted)
    assert result.returncode == 1
    errors = [line for line in result.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert f"sam '{permuted}' does not work: mean IoU of masks is 0." in errors[0]
    assert result.stdout.count(": ok") == 2
    assert result.stdout.count(": FAILED") == 1
    assert cli("models", "check", "tinny").returncode == 2
