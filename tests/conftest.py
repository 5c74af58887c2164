"""Fixtures that several test modules share."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from tests.skips import pytest_make_collect_report, pytest_runtest_makereport  # noqa: F401

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as wsss_seed does, and before torch is imported

if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup makes every process ignore it, those of the tests too

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real photographs, which the project does not ship."""
    folder = Path(os.environ.get("WSSS_SEED_REAL_DATA") or REPOSITORY.parent / "shared" / "data" / "real")
    if not folder.is_dir():
        pytest.skip(f"no real photographs at {folder}; set WSSS_SEED_REAL_DATA to the folder that has them")
    return folder


def _environment(more: dict[str, str] | None) -> dict[str, str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("WSSS_SEED_")}
    return {**clean, "HF_HUB_OFFLINE": "1", **(more or {})}


@contextmanager
def _in_environment(environment: dict[str, str]) -> Iterator[None]:
    """What a command sets in its environment is gone with it."""
    before = dict(os.environ)
    try:
        os.environ.clear()
        os.environ.update(environment)
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture
def program(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run ``wsss-seed`` as a user does, in a process of its own and a folder of its own."""

    def run(*args: object, env: dict[str, str] | None = None, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "wsss_seed", *map(str, args)]
        return subprocess.run(
            command, capture_output=True, text=True, cwd=tmp_path, env=_environment(env), timeout=timeout, check=False
        )

    return run


@pytest.fixture
def launch() -> list[str]:
    """How two processes on a CPU are started with what follows, such as ``-m wsss_seed``.

    By torch's launcher, which accelerate's calls for GPUs; on a CPU accelerate's starts a single process.
    """
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The same in this process, where torch and the model libraries are loaded already."""
    from huggingface_hub import constants  # it has read the environment by now

    from wsss_seed.cli import main

    def run(*args: object, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        out, err = io.StringIO(), io.StringIO()
        with monkeypatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            patch.chdir(tmp_path)
            patch.setattr(sys, "argv", ["wsss-seed", *map(str, args)])
            patch.setattr(constants, "HF_HUB_OFFLINE", True)
            patch.setattr("wsss_seed.cli.exit_on_signal", lambda: None)  # Ctrl-C is for pytest
            with _in_environment(_environment(env)), pytest.raises(SystemExit) as ended:
                main()
        return subprocess.CompletedProcess(sys.argv, ended.value.code or 0, out.getvalue(), err.getvalue())

    return run


@pytest.fixture(scope="session")
def permuted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The miniatures with the values of each tensor in another order; not to be changed."""
    import torch
    from safetensors.torch import load_file, save_file

    from wsss_seed.models.zoo import TINY

    folder = tmp_path_factory.mktemp("models") / "permuted"
    shutil.copytree(TINY, folder)
    order = torch.Generator().manual_seed(0)
    for path in folder.glob("*.safetensors"):
        weights = load_file(path)
        for name, tensor in weights.items():
            if tensor.is_floating_point():
                values = tensor.flatten()[torch.randperm(tensor.numel(), generator=order)]
                weights[name] = values.view(tensor.shape).contiguous()
        save_file(weights, path)
    return folder
