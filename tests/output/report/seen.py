"""A report in a real browser, for the tests."""

from __future__ import annotations

import time
from urllib.parse import parse_qsl, urlsplit


def until(page, expression: str, arg: str | None = None) -> None:
    """Wait until an expression is true; wait_for_function polls by eval, which the page's policy forbids."""
    end = time.monotonic() + 30
    while not page.evaluate(expression, arg):
        assert time.monotonic() < end, expression
        page.wait_for_timeout(20)


def shown(page) -> list[str]:
    return page.locator("#gallery > li .card-head b").all_text_contents()


def settled(page, id: str | None = None) -> None:
    """Wait until the labels of an image are drawn in the enlarged view."""
    until(
        page,
        """id => document.getElementById('labels').dataset.drawn
            && (id === null || document.getElementById('viewer-title').textContent === id)""",
        arg=id,
    )


def reaches(page, wanted: dict[str, str]) -> None:
    """Wait until the address says this."""
    end = time.monotonic() + 30
    while address(page) != wanted:
        assert time.monotonic() < end, (address(page), wanted)
        page.wait_for_timeout(20)


def address(page) -> dict[str, str]:
    """The state in the address."""
    return dict(parse_qsl(urlsplit(page.url).fragment))
