"""Workers on a real Ray cluster of several nodes on this machine: what they leave equals what one process leaves."""

from __future__ import annotations

import importlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.run import killed_runs as runs
from wsss_seed.data import open_dataset
from wsss_seed.errors import UsageError
from wsss_seed.io.progress import Progress
from wsss_seed.models.zoo import ModelSet
from wsss_seed.proposals.generate import ProposalSettings
from wsss_seed.run import on_ray as module
from wsss_seed.run.on_ray import Cluster, _divide, on_ray
from wsss_seed.run.proposals import ProposalPlan, execute

HERE = Path(__file__).parent
IMAGES = 40


@pytest.mark.parametrize(
    ("cluster", "resources", "expected"),
    [
        (Cluster(), {"CPU": 16.0, "GPU": 8.0}, (1.0, 8)),
        (Cluster(), {"CPU": 8.0, "GPU": 8.0}, (1.0, 4)),
        (Cluster(gpus=0.25), {"CPU": 64.0, "GPU": 2.0}, (0.25, 8)),
        (Cluster(), {"CPU": 8.0}, (0.0, 4)),
        (Cluster(cpus=0.0), {"CPU": 1.0, "GPU": 2.0}, (1.0, 2)),
        (Cluster(workers=3), {"CPU": 64.0}, (0.0, 3)),
    ],
)
def test_workers_fit_the_cluster(cluster, resources, expected):
    assert _divide(cluster, resources) == expected


@pytest.mark.parametrize("cluster", [Cluster(gpus=1.0), Cluster(cpus=4.0), Cluster(gpus=1.0, cpus=0.0)])
def test_a_cluster_that_is_too_small(cluster):
    with pytest.raises(UsageError, match="the cluster has 2 CPUs and 0 GPUs, too few for a worker"):
        _divide(cluster, {"CPU": 2.0})


def test_without_the_extra(monkeypatch):
    monkeypatch.setattr(module, "missing_modules", lambda _: ["ray"])
    with pytest.raises(UsageError, match=r"--engine ray needs an extra; install it with: .*\[ray\]"):
        on_ray(print, Cluster(), [], Progress())  # type: ignore[arg-type]


def test_a_cluster_of_other_versions(monkeypatch):
    ray = pytest.importorskip("ray")
    from ray._private.utils import check_version_info

    def connect(**_: object) -> None:
        check_version_info({"ray_version": "2.9.0", "python_version": "3.9.1"}, "node 10.0.0.7")

    monkeypatch.setattr(ray, "init", connect)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(UsageError, match=r"^the Ray cluster at this machine has other versions: .*3\.9\.1.*") as error:
        on_ray(print, Cluster(), [], Progress())  # type: ignore[arg-type]
    assert "\n" not in str(error.value)
    assert str(error.value).endswith("Use the same everywhere")


@pytest.fixture(scope="module")
def nodes():
    """A cluster of two nodes; its processes find the jobs by name."""
    import ray
    from ray.cluster_utils import Cluster as Nodes

    path = os.pathsep.join([str(HERE), str(HERE.parents[1])])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", path)
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_DEDUP_LOGS", "0")
        patch.syspath_prepend(HERE)
        cluster = Nodes(initialize_head=True, head_node_args={"num_cpus": 2})
        cluster.add_node(num_cpus=2)
        yield cluster
        ray.shutdown()
        cluster.shutdown()


@pytest.fixture(scope="module")
def jobs(nodes):
    return importlib.import_module("ray_jobs")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    status, messages = runs.finish(out, "--images", str(IMAGES))
    assert status == 0, messages
    return runs.contents(out)


def pids(out: Path) -> list[int]:
    """Of the living workers."""
    found = []
    for path in out.glob(".work/*.worker"):
        about = json.loads(path.read_bytes())
        if not about["driver"]:
            found.append(about["pid"])
    return [pid for pid in found if Path(f"/proc/{pid}").exists() and pid != os.getpid()]


class Killer(threading.Thread):
    """Kills workers, or takes nodes away, at random moments of a run, each after a new record."""

    def __init__(self, out: Path, act, times: int, seed: int) -> None:
        super().__init__(daemon=True)
        self.out, self.act, self.times, self.dice, self.done = out, act, times, random.Random(seed), 0

    def run(self) -> None:
        while self.done < self.times:
            before = runs.recorded(self.out)
            runs.wait_for(lambda before=before: runs.recorded(self.out) > before)
            time.sleep(self.dice.uniform(0, 0.3))
            self.done += bool(self.act(self.dice))


@pytest.mark.slow
def test_a_cluster_leaves_what_one_process_leaves(jobs, nodes, tmp_path, undisturbed):
    workers, interrupted = jobs.drive(nodes.address, tmp_path / "run", IMAGES, 0.05)
    assert not interrupted
    assert sum(worker.made for worker in workers) == IMAGES
    assert all(worker.made for worker in workers), "one worker did everything"
    assert runs.contents(tmp_path / "run") == undisturbed
    assert not (tmp_path / "run/.work").exists()


@pytest.mark.slow
def test_killed_workers(jobs, nodes, tmp_path, undisturbed):
    out = tmp_path / "run"

    def kill(dice: random.Random) -> bool:
        alive = pids(out)
        if alive:
            os.kill(dice.choice(alive), signal.SIGKILL)
        return bool(alive)

    killer = Killer(out, kill, 6, seed=1)
    killer.start()
    jobs.drive(nodes.address, out, IMAGES, 0.3)
    assert killer.done == 6
    assert runs.contents(out) == undisturbed


@pytest.mark.slow
def test_a_node_that_is_lost(jobs, nodes, tmp_path, undisturbed):
    out = tmp_path / "run"
    extra = nodes.add_node(num_cpus=1)

    def lose(_: random.Random) -> bool:
        nodes.remove_node(extra, allow_graceful=False)
        return True

    killer = Killer(out, lose, 1, seed=2)
    killer.start()
    jobs.drive(nodes.address, out, IMAGES, 0.2, workers=5)
    assert killer.done == 1
    assert runs.contents(out) == undisturbed


@pytest.mark.slow
def test_an_image_that_aborts_its_process_is_one_failed_line(jobs, nodes, tmp_path):
    out = tmp_path / "run"
    jobs.drive(nodes.address, out, IMAGES, 0.02, deadly=7)
    lines = runs.contents(out)["manifest.jsonl"]
    assert [line["id"] for line in lines if line["status"] == "failed"] == ["odd/0007"]
    assert len(lines) == IMAGES


@pytest.mark.slow
@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGKILL])
def test_a_driver_that_ends(jobs, nodes, tmp_path, undisturbed, kind):
    """Ctrl-C finishes what is under way; a killed driver takes its workers along. Another driver resumes."""
    out = tmp_path / "run"
    command = [sys.executable, str(HERE / "ray_jobs.py"), nodes.address, str(out), str(IMAGES), "0.3"]
    driver = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    runs.wait_for(lambda: runs.recorded(out) > 2, 120.0)
    driver.send_signal(kind)
    _, messages = driver.communicate()
    assert driver.returncode == (130 if kind == signal.SIGINT else -signal.SIGKILL), messages
    if kind == signal.SIGINT:
        assert "Traceback" not in messages
        assert not (out / ".work").exists()
        assert 2 < len(runs.contents(out)["manifest.jsonl"]) < IMAGES
    jobs.drive(nodes.address, out, IMAGES)
    assert runs.contents(out) == undisturbed


@pytest.mark.slow
def test_proposals_of_a_cluster_are_those_of_one_process(nodes, tmp_path):
    data = open_dataset("toyland", images=12)
    models, settings = ModelSet("tiny", "cpu"), ProposalSettings(points_per_side=4)
    workers = Cluster(nodes.address, 2, cpus=1.0)
    alone = execute(ProposalPlan(data, models, settings, tmp_path / "alone", devices=("cpu",)))
    shared = execute(ProposalPlan(data, models, settings, tmp_path / "ray", cluster=workers))
    assert (shared.images, shared.made, shared.masks, shared.failed) == (12, 12, alone.masks, ())
    assert runs.contents(tmp_path / "ray") == runs.contents(tmp_path / "alone")
    assert not (tmp_path / "ray/.work").exists()
    again = execute(ProposalPlan(data, models, settings, tmp_path / "ray", cluster=workers))
    assert (again.made, again.skipped, again.masks) == (0, 12, alone.masks)


@pytest.mark.slow
def test_kills_of_everything():
    """Workers, nodes and drivers; with 30 the script does more."""
    command = [sys.executable, str(HERE / "ray_kills.py"), "6"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "6 kills in 1 runs" in result.stdout


@pytest.mark.slow
def test_what_stops_one_stops_all(jobs, nodes, tmp_path, monkeypatch):
    cluster = Cluster(nodes.address, 2, cpus=1.0)
    with pytest.raises(UsageError, match="the weights are gone"):
        on_ray(jobs.refuse, cluster, [], Progress())
    with pytest.raises(UsageError, match=r"/nowhere: node .* does not see it; use a folder that all nodes share"):
        on_ray(jobs.refuse, cluster, [tmp_path / "nowhere"], Progress())
    monkeypatch.setattr(module, "__version__", "9.9")
    with pytest.raises(UsageError, match=r"has wsss-seed .*, not 9\.9 as here; install the same"):
        on_ray(jobs.refuse, cluster, [], Progress())


@pytest.mark.slow
def test_no_cluster_at_the_address(tmp_path):
    code = (
        "from wsss_seed.run.on_ray import *; from wsss_seed.io.progress import Progress\n"
        "try: on_ray(print, Cluster('127.0.0.1:1'), [], Progress())\n"
        "except UsageError as error: print(error)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert "no Ray cluster at 127.0.0.1:1 (" in result.stdout, result.stderr
    assert "start one with ray start --head" in result.stdout
