"""``wsss-seed learn-prompts`` as a user runs it, with the bundled CLIP on toyland."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from wsss_seed.io.lock import Lock
from wsss_seed.models.zoo import TINY, ModelSet
from wsss_seed.seeding.clip_sams.prompts import read_contexts

QUICK = ["--set", "train.warmup_iters=2", "--set", "train.batch_size=4", "--set", "context.n_ctx=4"]
COMMAND = ["learn-prompts", "--dataset", "toyland", "--images", 6, *QUICK]


def vectors(path: Path) -> np.ndarray:
    with safe_open(path, "np") as file:
        return file.get_tensor("vectors")


def one_line(result) -> str:
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    [line] = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    return line


def test_both_tasks_and_seeds_made_with_what_was_learned(cli, tmp_path: Path):
    """The issue's chain: cls, coarse seeds, seg, then fine seeds with one command each."""
    result = cli(*COMMAND, "--task", "both", "--set", "train.max_iters=4", "--out", "p", "--json")
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert set(report["prompts"]) == {"cls", "seg"}
    assert set(report["losses"]["seg"]) == {"loss_foreground", "loss_background"}
    for task in ("cls", "seg"):
        path = tmp_path / "p" / f"{task}.safetensors"
        assert path.stat().st_size < 100_000
        assert (tmp_path / "p" / f"{task}.png").is_file()
        assert len((tmp_path / "p" / f"{task}.csv").read_text().splitlines()) == 5
        assert str(tmp_path).encode() not in path.read_bytes()
    assert len(list((tmp_path / "p" / "coarse" / "SegmentationClass").glob("*.png"))) == 6
    sam = ModelSet("tiny").identity("sam")
    assert read_contexts(tmp_path / "p" / "cls.safetensors")[1]["sam"] is None
    assert read_contexts(tmp_path / "p" / "seg.safetensors")[1]["sam"] == {"name": "tiny", "identity": sam}

    made = cli("generate", "--dataset", "toyland", "--images", 2, "--prompts", "p", "--out", "fine", "--json")
    assert made.returncode == 0, made.stderr
    run = json.loads((tmp_path / "fine" / "run.json").read_text())
    assert run["settings"]["backend"]["name"] == "clip-sams"
    assert run["settings"]["backend"]["stage"] == "fine"
    assert run["settings"]["backend"]["prompts"].startswith("seg ")
    assert "the prompts were learned" not in made.stderr
    own = tmp_path / "own"
    shutil.copytree(TINY, own)
    weights = load_file(own / "sam.safetensors")
    save_file({k: v * 1.001 for k, v in weights.items()}, own / "sam.safetensors")
    other = cli("generate", "--dataset", "toyland", "--images", 2, "--prompts", "p", "--sam", own, "--out", "other")
    assert other.returncode == 0, other.stderr
    assert f"learned from seeds of SAM 'tiny', which is not '{own}'" in " ".join(other.stderr.split())
    assert "give --sam tiny" in " ".join(other.stderr.split())
    again = cli(*COMMAND, "--task", "both", "--set", "train.max_iters=4", "--out", "p")
    assert again.returncode == 0, again.stderr
    [line] = [line for line in again.stderr.splitlines() if line.startswith("next: ")]
    assert cli(*shlex.split(line)[2:], "--images", 2, "--split", "test", "--out", "next").returncode == 0


@pytest.mark.slow
def test_killed_at_any_moment_it_ends_with_the_same_prompts(program, tmp_path: Path):
    command = [*COMMAND, "--task", "cls", "--set", "train.max_iters=150"]
    assert program(*command, "--out", "whole").returncode == 0
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WSSS_SEED_")}
    for how in (signal.SIGKILL, signal.SIGTERM):
        out = tmp_path / how.name
        process = subprocess.Popen(
            [sys.executable, "-m", "wsss_seed", *map(str, command), "--out", str(out)],
            cwd=tmp_path,
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        end = time.monotonic() + 120
        while not (out / "cls.checkpoint").exists() and process.poll() is None:
            assert time.monotonic() < end
            time.sleep(0.01)
        process.send_signal(how)
        _, messages = process.communicate()
        if process.returncode == 0:
            pytest.skip("the run was over before it could be interrupted")
        assert not (out / "cls.safetensors").exists()
        if how == signal.SIGTERM:
            assert process.returncode == 130
            assert "run the same command again" in messages
        assert program(*command, "--out", out).returncode == 0
        assert (vectors(out / "cls.safetensors") == vectors(tmp_path / "whole" / "cls.safetensors")).all()
        assert (out / "cls.csv").read_bytes() == (tmp_path / "whole" / "cls.csv").read_bytes()


def test_other_settings_in_the_same_folder_are_refused(cli, tmp_path: Path):
    command = [*COMMAND, "--task", "cls", "--set", "train.max_iters=3", "--out", "p"]
    assert cli(*command).returncode == 0
    before = (tmp_path / "p" / "cls.safetensors").read_bytes()
    line = one_line(cli(*command, "--set", "train.lr=0.5"))
    assert "train.lr" in line
    assert "--overwrite" in line
    assert (tmp_path / "p" / "cls.safetensors").read_bytes() == before
    assert cli(*command, "--set", "train.lr=0.5", "--overwrite").returncode == 0
    assert (tmp_path / "p" / "cls.safetensors").read_bytes() != before


def test_a_second_learning_in_the_same_folder_is_refused(cli, tmp_path: Path):
    """Both would end well, and the result of one would be lost."""
    command = [*COMMAND, "--task", "cls", "--set", "train.max_iters=3", "--out", "p"]
    (tmp_path / "p").mkdir()
    other = Lock(tmp_path / "p" / ".lock")
    assert other.take(shared=False)
    line = one_line(cli(*command))
    assert line == "error: p: another learn-prompts is writing here; let it end or choose another --out"
    assert [path.name for path in (tmp_path / "p").iterdir()] == [".lock"]
    other.close()
    assert cli(*command).returncode == 0


@pytest.mark.slow
def test_several_processes_learn_what_one_does(launch, program, tmp_path: Path):
    command = [*COMMAND, "--task", "cls", "--set", "train.max_iters=4", "--set", "train.gradient_accumulation_steps=2"]
    assert program(*command, "--out", "one").returncode == 0
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WSSS_SEED_")}
    result = subprocess.run(
        [*launch, "-m", "wsss_seed", *map(str, command), "--out", "two"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    one, two = (vectors(tmp_path / name / "cls.safetensors") for name in ("one", "two"))
    np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    ("args", "parts"),
    [
        (["--labels", "none"], ["no image-level labels", "--labels a file"]),
        (["--task", "segg"], ["Did you mean 'seg'?"]),
        (["--task", "seg"], ["--seeds a folder", "--task both"]),
        (["--task", "seg", "--seeds", "nowhere"], ["nowhere", "--seeds"]),
        (["--task", "cls", "--seeds", "."], ["--seeds is for --task seg"]),
        (["--preset", "fma-vok"], ["Did you mean 'fma-voc'?"]),
        (["--set", "train.max_iter=3"], ["Did you mean 'train.max_iters'?"]),
        (["--set", "cls.train.lr=-1"], ["train.lr = -1", "at least 0"]),
        (["--task", "cls", "--set", "coarse.sams.background_exponent=1"], ["--task both"]),
        (["--set", "context.n_ctx=40"], ["context", "reads"]),
        (["--preset", "fma-voc"], ["sam_vit_h_4b8939.pth"]),
    ],
)
def test_wrong_usage_is_one_line_with_the_remedy(cli, tmp_path: Path, args, parts):
    result = cli(*COMMAND[:5], *args, "--out", "p", env={"WSSS_SEED_HOME": str(tmp_path / "home")})
    line = one_line(result)
    for part in parts:
        assert part in line


def test_labels_that_do_not_fit_the_classes(cli, tmp_path: Path):
    """A class that the class set lacks, and vectors of another length."""
    from wsss_seed.data.toyland.tree import write_tree

    write_tree(tmp_path / "tree", "train", 3, 0)
    (tmp_path / "labels.txt").write_text("train_000000 house\ntrain_000001 castle\n")
    np.save(tmp_path / "labels.npy", {"train_000000": np.ones(20, np.float32)}, allow_pickle=True)
    for file, part in (("labels.txt", "castle"), ("labels.npy", "20")):
        for command in (["learn-prompts"], ["generate", "--backend", "clip-sams"]):
            result = cli(
                *command, "--dataset", "voc", "--root", "tree", "--split", "train", "--classes", "toyland",
                "--labels", file, "--models", "tiny", "--out", "p",
            )  # fmt: skip
            line = one_line(result)
            assert file in line
            assert part in line
