"""Pictures on terminals: which ones show them, and what they are sent."""

import io
import os
import pty
import re
import sys
from base64 import b64decode
from contextlib import contextmanager

import pytest
from PIL import Image

from wsss_seed.cli import terminal
from wsss_seed.cli.terminal import columns_of, protocol, sequences

NOISE = Image.frombytes("RGB", (120, 60), os.urandom(120 * 60 * 3))


def png(picture) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


@contextmanager
def on_terminal(monkeypatch):
    """Standard output is a terminal; yields the other end."""
    reading, writing = pty.openpty()
    with open(writing, "w", encoding="utf-8") as stdout, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stdout)
        yield reading
    os.close(reading)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"TERM": "xterm-kitty"}, "kitty"),
        ({"TERM": "xterm-ghostty", "TERM_PROGRAM": "ghostty"}, "kitty"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "ghostty"}, "kitty"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}, "iterm2"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "WezTerm"}, "iterm2"),
        ({"TERM": "xterm-256color", "LC_TERMINAL": "iTerm2"}, "iterm2"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "Apple_Terminal"}, None),
        ({"TERM": "xterm-kitty", "TMUX": "/tmp/tmux"}, None),
        ({"TERM": "screen-256color", "LC_TERMINAL": "iTerm2"}, None),
        ({"TERM": "dumb"}, None),
        ({}, None),
    ],
)
def test_which_terminals_show_pictures(monkeypatch, environment, expected):
    with on_terminal(monkeypatch):
        assert protocol(environment) == expected


def test_a_file_or_a_pipe_shows_none(monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert protocol({"TERM": "xterm-kitty"}) is None


def test_kitty_gets_the_picture_in_chunks():
    data = png(NOISE)
    parts = [re.fullmatch(r"\x1b_G([^;]*);([A-Za-z0-9+/=]*)\x1b\\", part) for part in sequences(data, 40, "kitty")]
    assert len(parts) > 2
    assert b64decode("".join(part[2] for part in parts)) == data
    assert all(len(part[2]) <= 4096 for part in parts)
    assert all(len(part[2]) % 4 == 0 for part in parts)
    assert [part[1] for part in parts] == ["a=T,f=100,q=2,c=40,m=1", *["m=1"] * (len(parts) - 2), "m=0"]
    (single,) = sequences(b"x", 7, "kitty")
    assert single == "\x1b_Ga=T,f=100,q=2,c=7,m=0;eA==\x1b\\"


def test_iterm2_gets_the_picture_at_once():
    data = png(NOISE)
    (whole,) = sequences(data, 40, "iterm2")
    found = re.fullmatch(r"\x1b\]1337;File=inline=1;size=(\d+);width=40;preserveAspectRatio=1:([^\a]*)\a", whole)
    assert int(found[1]) == len(data)
    assert b64decode(found[2]) == data


@pytest.mark.parametrize(
    ("size", "columns", "lines", "expected"),
    [((1600, 800), 80, 50, 80), ((800, 1600), 80, 43, 40), ((80, 40), 200, 200, 10), ((10, 9000), 80, 1, 1)],
)
def test_pictures_fit_and_are_not_enlarged(size, columns, lines, expected):
    assert columns_of(Image.new("1", size), columns, lines) == expected


def test_a_picture_reaches_the_terminal(monkeypatch):
    with on_terminal(monkeypatch) as end:
        terminal.show_picture(Image.new("RGB", (64, 8)), "iterm2")
        received = os.read(end, 2**16).decode()
    found = re.fullmatch(r"\x1b\]1337;[^:]*width=8;[^:]*:(.*)\a\r\n", received)  # although its size is 0 x 0
    assert Image.open(io.BytesIO(b64decode(found[1]))).size == (64, 8)
