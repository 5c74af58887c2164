"""Kills a command at each of its file operations, or lets them fail, and looks at what is left.

``python every_operation.py SCENARIO ACT [--most N] [--seed S]`` tries every operation, or N of them where there are
more; ACT is ``kill``, SIGINT, or the name of an error. Each time a child is forked off, so that libraries are imported
once: before that nothing may have started a thread.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import painted
from killed_runs import contents
from operations import Trap
from PIL import Image

from wsss_seed.io.files import is_part

Command = Callable[[], int]

TRAIN = ["--encoder", "tu-test_resnet", "--set", "network.decoder_channels=16", "--set", "augment.crop_size=64"]
TRAIN += ["--set", "train.batch_size=2", "--device", "cpu", "--workers", "0"]
LEARN = ["--set", "train.warmup_iters=1", "--set", "train.batch_size=2", "--set", "context.n_ctx=4"]
LEARN += ["--set", "train.max_iters=3"]


def wsss_seed(*args: object) -> Command:
    def run() -> int:
        from wsss_seed.cli import main

        sys.argv = ["wsss-seed", *map(str, args)]
        try:
            main()
        except SystemExit as ended:
            return int(ended.code or 0)
        return 0

    return run


def paint(out: Path, *options: str) -> Command:
    def run() -> int:
        sys.argv = ["painted.py", str(out), *options]
        return painted.main()

    return run


@dataclass(frozen=True)
class Scenario:
    """A command that is disturbed.

    Attributes:
        prepare: makes what it needs in a folder, once.
        command: gives the command to disturb, from the folder of what it needs and the folder it writes to.
        begin: fills the folder it writes to, such as with an earlier run; called each time.
        again: gives the command that completes it, by default the same.
        state: what the folder holds, but times.
        check: raises where what is left is not what a reader may find.
    """

    command: Callable[[Path, Path], Command]
    prepare: Callable[[Path], None] = lambda home: None
    begin: Callable[[Path, Path], None] = lambda home, out: None
    again: Callable[[Path, Path], Command] | None = None
    state: Callable[[Path], dict[str, Any]] = lambda out: contents(out / "run")
    check: Callable[[Path], None] = lambda out: None


def check_run(out: Path) -> None:
    """Every mask under its name is whole, and every line that says so has its mask."""
    run = out / "run"
    for path in run.rglob("*.png"):
        if not path.name.endswith(".part"):
            with Image.open(path) as image:
                image.load()
    for manifest in [*run.glob("manifest.jsonl"), *run.glob(".work/*.jsonl")]:
        lines = manifest.read_text().split("\n")
        # What follows the last line feed is torn, and cut off by the next run. Of an image's lines the last one holds.
        for record in {record["id"]: record for record in map(json.loads, lines[:-1])}.values():
            if record["status"] == "ok":
                mask = (run / "SegmentationClass" / f"{record['id']}.png").read_bytes()
                assert hashlib.sha256(mask).hexdigest() == record["mask"]["sha256"], record["id"]
    if (run / "run.json").exists():
        json.loads((run / "run.json").read_text())


def check_export(out: Path) -> None:
    """An export is whole or not there."""
    folder = out / "export"
    if folder.exists():
        marker = json.loads((folder / "export.json").read_text())
        assert {p.name for p in folder.iterdir()} == {*marker["content"], "export.json"}


def check_training(out: Path) -> None:
    from wsss_seed.segmenter.checkpoint import load_segmenter

    for path in (out / "training").glob("*.pt"):
        load_segmenter(path)


def state(out: Path) -> dict[str, Any]:
    """What all commands but seeding leave, but times."""
    found = contents(out)
    for name, value in found.items():
        if name.endswith("training.json"):
            found[name] = json.loads(value) | {"finished": None}
        elif name.endswith("report.html"):
            found[name] = re.sub(rb"\d{4}-\d\d-\d\dT[\d:]+Z|\d+\.\d+ s\b", b"", value)
        elif name.endswith(".pt"):
            import torch

            content = torch.load(out / name, weights_only=True)
            found[name] = {k: v.tobytes() for k, v in ((k, v.numpy()) for k, v in content["weights"].items())}
    return found


def without_parts(out: Path) -> dict[str, Any]:
    """But for the rest of a killed write, where no lock tells whether its process is dead."""
    return {name: value for name, value in state(out).items() if not is_part(Path(name))}


def resumed(home: Path, out: Path) -> None:
    """A folder in which a run has made three of six masks."""
    assert in_child(paint(out / "run", "--images", "3"))[0] == 0


def other_run(home: Path, out: Path) -> None:
    assert in_child(paint(out / "run", "--images", "4", "--contest", "40"))[0] == 0


def a_run(home: Path) -> None:
    assert in_child(paint(home / "run", "--images", "3"))[0] == 0


def exporting(format: str, *options: str) -> Scenario:
    def begin(home: Path, out: Path) -> None:
        if "--overwrite" in options:
            assert in_child(wsss_seed("export", format, home / "run", out / "export"))[0] == 0

    return Scenario(
        lambda home, out: wsss_seed("export", format, home / "run", out / "export", *options),
        prepare=a_run,
        begin=begin,
        # A kill after the last rename leaves an export that stands.
        again=lambda home, out: wsss_seed("export", format, home / "run", out / "export", "--overwrite"),
        check=check_export,
        state=state,
    )


def a_tree(home: Path) -> None:
    assert (
        in_child(wsss_seed("datasets", "make", "toyland", "--out", home / "tree", "--images", 6, "--split", "train"))[0]
        == 0
    )


def training(home: Path, out: Path) -> Command:
    more = ["--set", "train.max_iters=4", "--set", "train.checkpoint_interval=2", "--out", out / "training"]
    return wsss_seed("train-seg", home / "tree", *TRAIN, *more)


def a_segmenter(home: Path) -> None:
    a_tree(home)
    assert in_child(training(home, home))[0] == 0


SCENARIOS = {
    "generate": Scenario(lambda _, out: paint(out / "run", "--images", "5"), check=check_run),
    "generate-resumed": Scenario(lambda _, out: paint(out / "run", "--images", "5"), begin=resumed, check=check_run),
    "generate-overwrite": Scenario(
        lambda _, out: paint(out / "run", "--images", "4", "--overwrite"), begin=other_run, check=check_run
    ),
    "generate-shard": Scenario(
        lambda _, out: paint(out / "run", "--images", "6", "--shard", "2/2"),
        begin=resumed,
        check=check_run,
    ),
    **{f"export-{name}": exporting(name) for name in ("mmseg", "hf", "coco", "yolo")},
    "export-overwrite": exporting("mmseg", "--overwrite"),
    "export-copy": exporting("yolo", "--copy"),
    "report": Scenario(
        lambda home, out: wsss_seed("report", home / "run", "--out", out / "report.html"),
        prepare=a_run,
        state=without_parts,
    ),
    "train-seg": Scenario(training, prepare=a_tree, check=check_training, state=state),
    "learn-prompts": Scenario(
        lambda _, out: wsss_seed(
            "learn-prompts", "--dataset", "toyland", "--images", 4, "--task", "cls", *LEARN, "--out", out / "prompts"
        ),
        state=state,
    ),
    "predict": Scenario(
        lambda home, out: wsss_seed(
            "predict", home / "training", "--dataset", "toyland", "--images", 3, "--device", "cpu", "--out", out / "run"
        ),
        prepare=a_segmenter,
        check=check_run,
        state=lambda out: without_command(contents(out / "run")),
    ),
}


def without_command(found: dict[str, Any]) -> dict[str, Any]:
    found.get("run.json", {}).pop("command", None)
    return found


def in_child(command: Command, trap: Trap | None = None) -> tuple[int, str]:
    """Exit status, negative for a signal, and what was said on standard error; with a trap also how far it counted."""
    with tempfile.TemporaryFile("w+b") as said:
        child = os.fork()
        if child == 0:
            status = 99
            try:
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, 1)
                os.dup2(said.fileno(), 2)
                signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background
                if trap is not None:
                    trap.set()
                status = command()
            except BaseException:
                traceback.print_exc()
            finally:
                if trap is not None:
                    trap.at = 0
                    sys.stderr.write(f"\noperations: {trap.count}\n")
                sys.stderr.flush()
                os._exit(status)
        _, status = os.waitpid(child, 0)
        said.seek(0)
        return os.waitstatus_to_exitcode(status), said.read().decode("utf-8", "replace")


def main(argv: Sequence[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("scenario", choices=SCENARIOS)
    parser.add_argument("act")
    parser.add_argument("--most", type=int, default=10**9)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    scenario, killing = SCENARIOS[options.scenario], options.act == "kill"
    # What all children need; the models' libraries take seconds.
    needed = ["wsss_seed.cli", "wsss_seed.output.export.coco", "wsss_seed.output.report"]
    if options.scenario in ("train-seg", "learn-prompts", "predict"):
        needed += ["wsss_seed.models.zoo", "wsss_seed.run.learn", "wsss_seed.segmenter.train"]
    for name in needed:
        importlib.import_module(name)

    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        home.mkdir()
        scenario.prepare(home)
        again = scenario.again or scenario.command

        def fresh() -> Path:
            """A folder to write to, always of one name, for some files hold it."""
            out = Path(folder) / "out"
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir()
            scenario.begin(home, out)
            return out

        def trap(at: int) -> Trap:
            return Trap(Path(folder) / "out", at, "SIGKILL" if killing else options.act)

        out = fresh()
        status, said = in_child(scenario.command(home, out), trap(0))
        assert status == 0, said
        expected = scenario.state(out)
        total = int(said.rsplit("operations: ", 1)[1])
        dice = random.Random(options.seed)
        chosen = range(1, total + 1)
        if total > options.most:
            chosen = sorted(dice.sample(chosen, options.most))
        statuses: dict[int, int] = {}
        for at in chosen:
            out = fresh()
            where = f"{options.scenario}, {options.act} at operation {at} of {total}"
            status, said = in_child(scenario.command(home, out), trap(at))
            said = said.rsplit("\noperations: ", 1)[0]
            statuses[status] = statuses.get(status, 0) + 1
            # Threads differ in their order, so that the last operations may not come.
            allowed = {"kill": (-signal.SIGKILL, 0), "SIGINT": (130, 0)}.get(options.act, (0, 1, 2))
            assert status in allowed, f"{where}: status {status}\n{said}"
            assert status != 130 or said.count("interrupted") == 1 or options.scenario.startswith("gen"), (where, said)
            assert "Traceback" not in said, f"{where}:\n{said}"
            try:
                scenario.check(out)
                status, said = in_child(again(home, out))
                assert status == 0, f"the next command ended with {status}\n{said}"
                assert "Traceback" not in said, said
                found = scenario.state(out)
                different = {k for k in {*found, *expected} if found.get(k) != expected.get(k)}
                assert not different, f"other than undisturbed: {sorted(different)}"
            except BaseException as error:
                raise AssertionError(f"{where}: {error}") from error
        print(f"{options.scenario} {options.act}: {len(chosen)} of {total} operations, ends {statuses}")


if __name__ == "__main__":
    main(sys.argv[1:])
