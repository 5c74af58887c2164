"""Kills what takes part in runs on a Ray cluster, and compares what the runs leave with an undisturbed one.

``python ray_kills.py 30`` kills workers, nodes and drivers at random moments, thirty in all, and a worker at the moment
a shard is committed. A driver that was killed or has given up is started again with the same command.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

import killed_runs as runs  # noqa: E402

IMAGES, PAUSE = 60, 0.3


def pids(out: Path) -> list[int]:
    """Of the living workers."""
    found = []
    for path in out.glob(".work/*.worker"):
        try:
            about = json.loads(path.read_bytes())
        except (OSError, ValueError):  # it has just ended
            continue
        if not about["driver"] and Path(f"/proc/{about['pid']}").exists():
            found.append(about["pid"])
    return found


def committed(out: Path) -> int:
    """Number of shards that are done."""
    return sum(1 for _ in out.glob(".work/*/*.done"))


class Scene:
    """A cluster, a driver, and what was killed so far."""

    def __init__(self, nodes: Any, out: Path, dice: random.Random) -> None:
        self.nodes, self.out, self.dice = nodes, out, dice
        self.extra = nodes.add_node(num_cpus=2)
        self.killed: Counter[str] = Counter()
        self.drivers = 0
        self.start()

    def start(self) -> None:
        command = [
            sys.executable,
            str(HERE / "ray_jobs.py"),
            self.nodes.address,
            str(self.out),
            str(IMAGES),
            str(PAUSE),
        ]
        self.driver = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        self.drivers += 1

    def kill(self) -> None:
        """Kill something, by chance mostly a worker."""
        what = self.dice.choices(["worker", "worker in a commit", "node", "driver"], [5, 2, 1, 1])[0]
        if what == "driver":
            self.driver.kill()
            self.driver.communicate()
            self.start()
        elif what == "node":
            self.nodes.remove_node(self.extra, allow_graceful=False)
            self.extra = self.nodes.add_node(num_cpus=2)
        else:
            if what == "worker in a commit":
                before, end = committed(self.out), time.monotonic() + 5
                while committed(self.out) <= before and time.monotonic() < end:
                    pass
            alive = pids(self.out)
            if not alive:
                return
            try:
                os.kill(self.dice.choice(alive), signal.SIGKILL)
            except ProcessLookupError:
                return
        self.killed[what] += 1

    def finish(self) -> int:
        """Give the command until the run is complete; the last exit status."""
        while (status := self.driver.wait()) not in (0, 1):
            self.start()
        return status


def disturbed(nodes: Any, out: Path, dice: random.Random, most: int) -> Counter[str]:
    """A run with up to ``most`` kills, each after a new record; what was killed."""
    scene = Scene(nodes, out, dice)
    try:
        while sum(scene.killed.values()) < most and scene.driver.poll() is None:
            before, end = runs.recorded(out), time.monotonic() + 60
            while scene.driver.poll() is None and runs.recorded(out) <= before and time.monotonic() < end:
                time.sleep(0.01)
            time.sleep(dice.uniform(0, 0.5))
            if scene.driver.poll() is None:
                scene.kill()
        status = scene.finish()
        if status:  # more processes died than are replaced: the same command again
            scene.start()
            status = scene.finish()
        assert status == 0, scene.driver.communicate()[1]
    finally:
        nodes.remove_node(scene.extra)
    return scene.killed


def main(kills: int) -> None:
    os.environ |= {"PYTHONPATH": os.pathsep.join(sys.path[:2]), "RAY_AUTH_MODE": "disabled"}
    from ray.cluster_utils import Cluster as Nodes

    dice = random.Random(time.time_ns())
    killed: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        undisturbed = Path(folder) / "undisturbed"
        assert runs.finish(undisturbed, "--images", str(IMAGES))[0] == 0
        expected = runs.contents(undisturbed)
        nodes = Nodes(initialize_head=True, head_node_args={"num_cpus": 1})
        number = 0
        while sum(killed.values()) < kills:
            number += 1
            out = Path(folder) / str(number)
            now = disturbed(nodes, out, dice, min(6, kills - sum(killed.values())))
            killed += now
            same = runs.contents(out) == expected
            print(f"run {number}: {dict(now)}, {'identical' if same else 'DIFFERENT'}", flush=True)
            assert same
        nodes.shutdown()
    print(f"{sum(killed.values())} kills in {number} runs: {dict(killed)}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
