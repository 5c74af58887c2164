"""Training curves, written as a CSV table and as a PNG plot."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from .files import write_bytes, write_text
from .font import Font

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 960, 360, 90, 24, 40, 56
"""Of a panel, and the margins around its axes, in pixels."""

_COLOURS = ("#1f6fb4", "#d1602f", "#3a8f4d")
_PANELS = {"loss": ("loss", 1), "miou": ("mIoU in %", 100)}
"""How the names of the columns of a panel begin -> label of its vertical axis, and the factor on the values."""


def write_curve(path: Path, columns: Mapping[str, Sequence[float]]) -> None:
    """Write ``path``.csv, one row per iteration, and ``path``.png, the plot.

    Args:
        path: without suffix.
        columns: name -> one value per iteration, NaN where there is none; columns whose names begin with ``loss`` and
            ``miou`` are plotted, in a panel each.

    Raises:
        OSError: the files cannot be written.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["iteration", *columns])
    for i, row in enumerate(zip(*columns.values(), strict=True), 1):
        table.writerow([i, *("" if v != v else f"{v:.8g}" for v in row)])
    write_text(path.with_suffix(".csv"), text.getvalue())
    picture = io.BytesIO()
    drawn = {
        name: values
        for name, values in columns.items()
        if name.startswith(tuple(_PANELS)) and any(v == v for v in values)
    }
    draw_curve(drawn).save(picture, "PNG")
    write_bytes(path.with_suffix(".png"), picture.getvalue())


def draw_curve(curves: Mapping[str, Sequence[float]]) -> Image.Image:
    """Plot of values over iterations, a panel for losses and one for mIoU, if there are any.

    Of many values, single ones are pale and their running mean (over 2 % of the values) bold; a few have a dot each.
    """
    panels = [
        (label, {name: [v * factor for v in values] for name, values in curves.items() if name.startswith(start)})
        for start, (label, factor) in _PANELS.items()
    ]
    panels = [(label, own) for label, own in panels if own] or [(_PANELS["loss"][0], {})]
    n = max((len(values) for values in curves.values()), default=0)
    image = Image.new("RGB", (_WIDTH, _HEIGHT * len(panels)), "white")
    for row, (label, own) in enumerate(panels):
        _panel(image, _HEIGHT * row, label, own, n)
    return image


def _panel(image: Image.Image, top: int, label: str, curves: Mapping[str, Sequence[float]], n: int) -> None:
    """Draw one panel, with its upper edge at ``top``, over iterations 1 to ``n``."""
    canvas, font = ImageDraw.Draw(image), ImageFont.load_default(14)
    shown = [v for values in curves.values() for v in values if v == v]
    low, high = min([0.0, *shown]), max([*shown, 1e-9])
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def at(iteration: float, value: float) -> tuple[float, float]:
        return (
            _LEFT + width * (iteration - 1) / max(1, n - 1),
            top + _TOP + height * (1 - (value - low) / (high - low)),
        )

    for value in ticks(low, high, 5):
        y = at(1, value)[1]
        canvas.line([(_LEFT, y), (_LEFT + width, y)], "#dddddd")
        canvas.text((_LEFT - 8, y), f"{value:.4g}", "black", font, anchor="rm")
    bottom = top + _TOP + height
    canvas.line([(_LEFT, top + _TOP), (_LEFT, bottom), (_LEFT + width, bottom)], "#888888")
    for value in ticks(1, max(1, n), 8, whole=True):
        x = at(value, low)[0]
        canvas.line([(x, bottom), (x, bottom + 5)], "#888888")
        canvas.text((x, bottom + 9), f"{value:.0f}", "black", font, anchor="mt")
    canvas.text((_LEFT + width / 2, bottom + 30), "iteration", "black", font, anchor="mt")
    _upright(image, label, (14, top + _TOP + height // 2), font)
    for k, (name, values) in enumerate(curves.items()):
        colour = _COLOURS[k % len(_COLOURS)]
        known = [(i, v) for i, v in enumerate(values, 1) if v == v]
        if len(known) <= _FEW:
            canvas.line([at(i, v) for i, v in known], colour, 2)
            for i, v in known:
                x, y = at(i, v)
                canvas.ellipse((x - 3, y - 3, x + 3, y + 3), colour)
        else:
            pale = "#" + "".join(f"{(int(colour[j : j + 2], 16) + 3 * 255) // 4:02x}" for j in (1, 3, 5))
            canvas.line([at(i, v) for i, v in known], pale)
            means = _running_mean([v for _, v in known], max(1, len(known) // 50))
            canvas.line([at(i, m) for (i, _), m in zip(known, means, strict=True)], colour, 2)
        if len(curves) > 1:
            canvas.text((_LEFT + 12 + 160 * k, top + _TOP - 24), name.replace("_", " "), colour, font)


_FEW = 50


def ticks(low: float, high: float, most: int, *, whole: bool = False) -> list[float]:
    """At most ``most`` round values from ``low`` to ``high``: multiples of 1, 2 or 5 times a power of ten; with
    ``whole``, integers only."""
    step = 10.0 ** math.floor(math.log10(max(high - low, 1e-12) / most))
    if whole:
        step = max(1.0, step)
    for factor in (1, 2, 5, 10, 20):
        first, last = math.ceil(low / (step * factor) - 1e-9), math.floor(high / (step * factor) + 1e-9)
        if last - first < most:
            break
    return [k * step * factor for k in range(first, last + 1)]


def _running_mean(values: Sequence[float], span: int) -> list[float]:
    """The mean of each value and of up to ``span`` - 1 values before it."""
    sums = [0.0]
    for v in values:
        sums.append(sums[-1] + v)
    return [(sums[j + 1] - sums[max(0, j + 1 - span)]) / min(j + 1, span) for j in range(len(values))]


def _upright(image: Image.Image, text: str, place: tuple[int, int], font: Font) -> None:
    """Text that runs upwards, centred at ``place``."""
    left, top, right, bottom = (round(v) for v in font.getbbox(text))
    strip = Image.new("RGB", (right - left + 2, bottom - top + 2), "white")
    ImageDraw.Draw(strip).text((-left, -top), text, "black", font)
    strip = strip.rotate(90, expand=True)
    image.paste(strip, (place[0] - strip.width // 2 + 4, place[1] - strip.height // 2))
