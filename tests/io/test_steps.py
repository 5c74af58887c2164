"""Steps that are logged, and the console for their bars."""

import io
import logging

import pytest
from rich.console import Console

from wsss_seed.io import steps


def test_a_step_is_logged_with_its_time(caplog):
    caplog.set_level(logging.DEBUG, steps.log.name)
    with steps.timed("loading SAM"):
        assert caplog.messages == ["loading SAM"]
    assert [r.levelname for r in caplog.records] == ["INFO", "DEBUG"]
    assert caplog.messages[1].startswith("loading SAM took 0.0")
    with pytest.raises(ValueError, match="torn"), steps.timed("loading CLIP"):
        raise ValueError("torn")
    assert caplog.messages[2:] == ["loading CLIP"]


def test_bars_need_a_terminal_that_a_command_line_names():
    assert steps.bar_console() is None
    terminal = Console(file=io.StringIO(), force_terminal=True)
    for console, shown in (
        (terminal, terminal),
        (Console(file=io.StringIO()), None),
        (Console(file=io.StringIO(), force_terminal=True, quiet=True), None),
        (None, None),
    ):
        steps.show_bars_on(console)
        assert steps.bar_console() is shown
