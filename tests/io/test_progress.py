"""Progress by a clock of the tests, so that nothing waits."""

import io
import itertools
from collections.abc import Sequence

import pytest
from rich.console import Console

from wsss_seed.io.progress import Progress


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def lines(seconds: Sequence[float], *, total: int, finished: int = 0, failed: Sequence[int] = ()) -> list[str]:
    """What is printed without a terminal if the items take these times."""
    text, clock = io.StringIO(), Clock()
    progress = Progress(Console(file=text), clock=clock)
    progress.start(total, finished)
    for index, duration in enumerate(seconds):
        clock.now += duration
        progress.step(failed=index in failed)
    progress.stop()
    return text.getvalue().splitlines()


def test_a_short_run_is_two_lines():
    assert lines([0.5] * 10, total=10) == ["seeding 10 images", "10 of 10 images done in 5.0 s"]


def test_a_long_run_is_estimated_once_on_its_first_images():
    printed = lines([60.0, *[7.0] * 9], total=1000, finished=200)
    assert printed[0] == "seeding 1000 images, 200 of them already finished"
    # The first image, with 60 s for loading, does not count: 794 images at 7 s.
    estimates = [line for line in printed if "will take" in line]
    assert estimates == ["the remaining 794 images will take about 1 h 33 min (7.0 s/image, measured on the first 6)"]


def test_a_short_rest_is_not_estimated():
    assert not [line for line in lines([2.0] * 10, total=100) if "will take" in line]


def test_lines_come_at_growing_intervals():
    printed = lines([1.0] * 7200, total=7200, failed=[3])
    between = printed[2:-1]
    done = [int(line.split()[0]) for line in between]
    assert done[:5] == [30, 60, 120, 240, 480]
    assert all(b - a <= 600 for a, b in itertools.pairwise(done))
    assert len(between) < 20
    assert between[2] == "120 of 7200 images, 1.0 s/image, 1 h 58 min left, 1 failed"
    assert printed[-1] == "7200 of 7200 images done in 7200.0 s, 1 failed"


def test_items_that_were_processed_before_are_not_measured():
    text, clock = io.StringIO(), Clock()
    progress = Progress(Console(file=text), clock=clock)
    progress.start(1000, 10, [False, True] * 20)
    for _ in range(6):
        clock.now += 10
        progress.step()
    progress.stop()
    printed = text.getvalue().splitlines()
    assert printed[0] == "seeding 1000 images, 10 of them already finished"
    assert "56 of 1000 images done in 60.0 s, 20 failed" in printed
    assert "the remaining 944 images will take about 2 h 37 min (10.0 s/image, measured on the first 6)" in printed


def test_a_terminal_shows_slow_rates_too():
    text, clock = io.StringIO(), Clock()
    progress = Progress(Console(file=text, force_terminal=True, width=160), clock=clock)
    progress.start(100, 0)
    for index in range(8):
        clock.now += 45.0
        progress.step(failed=index == 2)
    progress.stop()
    shown = text.getvalue()
    assert "45.0 s/image, 1 h 9 min left" in shown
    assert "1 failed" in shown
    assert "the remaining 94 images will take about 1 h 10 min" in shown


@pytest.mark.parametrize("terminal", [True, False])
def test_a_warning_is_printed_once(terminal):
    text = io.StringIO()
    progress = Progress(Console(file=text, force_terminal=terminal, width=120))
    progress.warn("bright [red] colours")
    progress.warn("bright [red] colours")
    assert text.getvalue().count("warning: bright [red] colours") == 1


def test_nothing_was_started():
    text = io.StringIO()
    Progress(Console(file=text)).stop()
    assert text.getvalue() == ""


def test_a_note_is_part_of_the_lines():
    text, clock = io.StringIO(), Clock()
    progress = Progress(Console(file=text), "training", "iteration", clock)
    progress.start(100, 0)
    for index in range(40):
        clock.now += 1
        progress.step(note=f"loss {index}")
    assert text.getvalue().splitlines()[1] == "30 of 100 iterations, 1.0 s/iteration, 70 s left, loss 29"


def test_a_short_step_within_is_silent_and_a_long_one_is_a_line_now_and_then():
    text, clock = io.StringIO(), Clock()
    outer = Progress(Console(file=text), "training", "iteration", clock)
    outer.start(10, 0)
    for seconds in (0.1, 1.0):
        with outer.within("validating", "image", 100) as inner:
            for _ in range(100):
                clock.now += seconds
                inner.step()
    assert text.getvalue().splitlines() == [
        "training 10 iterations",
        "validating: 30 of 100 images, 1.0 s/image, 70 s left",
        "validating: 60 of 100 images, 1.0 s/image, 40 s left",
    ]


@pytest.mark.parametrize("started", [True, False])
def test_a_step_within_has_a_second_bar_at_a_terminal(started):
    text = io.StringIO()
    outer = Progress(Console(file=text, force_terminal=True, width=80, _environ={}), "training", "iteration")
    if started:
        outer.start(10, 0)
        outer.step(note="loss 0.25")
    with outer.within("validating", "image", 3) as inner:
        for _ in range(3):
            inner.step()
        assert inner._bar is not None
        assert (inner._bar is outer._bar) == started
        inner._bar.refresh()
    before = text.getvalue()
    assert "3/3" in before
    assert ("loss 0.25" in before) == started
    outer.stop()
    assert "validating" not in text.getvalue()[len(before) :].split("training")[-1]
