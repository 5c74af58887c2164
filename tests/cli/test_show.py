"""What commands print: results and messages in their streams, and a reader who has left."""

import json
import os
import subprocess
import sys

import pytest

from wsss_seed.cli import show


def test_results_and_messages_have_streams_of_their_own(capsys):
    show.result("[bold]3 images[/bold] in a [folder]")
    show.message("reading")
    show.warning("few")
    show.error("none")
    out, err = capsys.readouterr()
    assert out == "[bold]3 images[/bold] in a [folder]\n"  # markup is text
    assert err == "reading\nwarning: few\nerror: none\n"


def test_arguments_in_messages_are_options_and_long_lines_stay_whole(capsys):
    show.error("choose another `out`")
    show.error("x" * 500)
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["error: choose another --out", f"error: {'x' * 500}"]


def test_twenty_failures_are_shown_and_the_others_counted(capsys):
    show.failures(
        [(f"id{i}", f"torn id{i}.jpg" if i == 1 else "torn") for i in range(23)], before="> ", more=" of them"
    )
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == ["error: > id0: torn", "error: > torn id1.jpg"]  # named once
    assert lines[20:] == ["error: > and 3 more of them"]


def test_json_is_not_escaped(capsys):
    show.as_json({"é": [1, None, 0.5]})
    out = capsys.readouterr().out
    assert json.loads(out) == {"é": [1, None, 0.5]}
    assert "é" in out


def test_figures_in_tables_are_on_the_right(capsys):
    show.table("IoU", ["class", "IoU"], [["cat [1]", "5.00"], ["a dog", "-"], ["x", "100.00"]])
    rows = [line.split("│")[1:3] for line in capsys.readouterr().out.splitlines() if "│" in line]
    assert rows == [[" cat [1] ", "   5.00 "], [" a dog   ", "      - "], [" x       ", " 100.00 "]]


@pytest.mark.parametrize(("value", "text"), [(None, "-"), (0.0, "0.00"), (0.12345, "12.35"), (1.0, "100.00")])
def test_percent(value, text):
    assert show.percent(value) == text


def test_signed():
    assert (show.signed(0.005), show.signed(-0.1), show.signed(0)) == ("+0.50", "-10.00", "+0.00")


SCRIPT = """
import sys
from wsss_seed.cli import show
for _ in range(5):
    show.result("x" * 100_000)
show.finish()
sys.exit(7)
"""


def test_a_command_whose_reader_has_left_ends_with_its_own_status():
    reading, writing = os.pipe()
    os.close(reading)
    try:
        result = subprocess.run([sys.executable, "-c", SCRIPT], stdout=writing, stderr=subprocess.PIPE, check=False)
    finally:
        os.close(writing)
    assert (result.returncode, result.stderr) == (7, b"")


def test_a_full_disk_is_an_error_with_a_remedy():
    with open("/dev/full", "wb") as full:
        result = subprocess.run([sys.executable, "-c", SCRIPT], stdout=full, stderr=subprocess.PIPE, check=False)
    assert result.returncode == 1
    assert b"UsageError: stdout: cannot be written (No space left on device); redirect it elsewhere" in result.stderr
