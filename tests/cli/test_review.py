"""``wsss-seed review``."""

import os
import re
import signal
import socket
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY
from tests.review.running import Client, pets
from wsss_seed.data.corrections import read_log


@pytest.fixture
def started(tmp_path):
    """Start the command, and return its process and a client."""
    processes = []

    def start(*args):
        command = [sys.executable, "-m", "wsss_seed", "review", *map(str, args)]
        clean = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
        environment = {**clean, "PYTHONPATH": str(REPOSITORY)}
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            command,
            stdout=pipe,
            stderr=pipe,
            text=True,
            cwd=tmp_path,
            env=environment,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored where pytest runs in background
        )
        processes.append(process)
        line = process.stdout.readline()
        return process, Client(re.fullmatch(r"review: (http://127\.0\.0\.1:\d+/\?token=\S+)\n", line)[1])

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_a_summary(started, tmp_path, kind):
    run = pets(tmp_path / "run")
    process, client = started(run, "--by", "anna")
    client.post("/api/decide", client.decision("a", "accepted"))
    client.post("/api/decide", client.decision("b", "rejected"))
    process.send_signal(kind)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert out == "1 accepted, 1 rejected, 0 corrected, 1 open (decisions in this session: 2)\n"
    assert err == "open this address in a browser; Ctrl-C ends the review\n"
    assert {decision.by for decision in read_log(run)} == {"anna"}


def test_bad_input_is_one_line(cli, tmp_path):
    run = pets(tmp_path / "run", ids=("a",))
    other = pets(tmp_path / "other", ids=("a",))
    (other / "classes.txt").write_text("background\ncow\n", "utf-8")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for arguments, text in (
            (("nowhere",), "nowhere: no such folder; give the folder of a run"),
            ((tmp_path,), "not a run folder"),
            ((run, "--port", port), f"--port {port} of 127.0.0.1: cannot be used (Address already in use)"),
            ((run, "--host", "203.0.113.7"), "cannot be used"),
            ((run, "--other", "nowhere"), "nowhere: no such folder"),
            ((run, "--other", other), "has other classes than"),
        ):
            done = cli("review", *arguments, "--no-browser")
            assert done.returncode == 2
            assert done.stderr.startswith("error: ")
            assert done.stderr.count("\n") == 1
            assert text in done.stderr


def test_without_the_extra(cli, monkeypatch):
    monkeypatch.setattr("wsss_seed.io.extras.missing_modules", lambda extra: ["starlette"])
    done = cli("review", "run")
    assert done.returncode == 2
    assert re.fullmatch(r"error: review needs an extra; install it with: pip install .*\[review\].*\n", done.stderr)
