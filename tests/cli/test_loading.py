"""The line before libraries load: on a terminal, if a command needs them, and once."""

import os
import pty
import subprocess
import sys

import pytest


def on_a_terminal(*words: str) -> str:
    """What a command prints on a standard error that is a terminal."""
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "wsss_seed", *words]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=slave)
    os.close(slave)
    parts = []
    while True:
        try:
            part = os.read(master, 4096)
        except OSError:  # the end of a pseudo-terminal
            break
        if not part:
            break
        parts.append(part)
    os.close(master)
    assert process.wait() == 0
    return b"".join(parts).decode()


@pytest.mark.parametrize(
    ("words", "times"),
    [
        (("generate", "--dataset", "toyland", "--images", "1"), 1),
        (("generate", "--dataset", "toyland", "--images", "1", "--quiet"), 0),
        (("settings", "dino-sam"), 0),
    ],
)
def test_it_is_shown_once_where_libraries_load(words, times, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.chdir(tmp_path)
    assert on_a_terminal(*words).count("loading libraries") == times


def test_a_log_has_no_such_line(program):
    done = program("generate", "--dataset", "toyland", "--images", 1)
    assert done.returncode == 0
    assert "loading libraries" not in done.stderr
