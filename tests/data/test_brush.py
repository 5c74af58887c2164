"""Label Studio's run lengths: against a plain reading of the format, and damaged."""

from contextlib import suppress

import numpy as np
import pytest

from wsss_seed.data.brush import decode_brush, encode_brush


def plain(code: list[int]) -> np.ndarray:
    """The values of a code, bit by bit as rle-pack defines them."""
    bits = "".join(f"{byte:08b}" for byte in code)
    place = 0

    def read(size: int) -> int:
        nonlocal place
        place += size
        return int(bits[place - size : place], 2)

    count, word = read(32), read(5) + 1
    widths = [read(4) + 1 for _ in range(4)]
    values: list[int] = []
    while len(values) < count:
        run = read(1)
        length = read(widths[read(2)]) + 1
        values += [read(word)] * length if run else [read(word) for _ in range(length)]
    assert len(bits) - place < 8
    return np.array(values, np.uint8)


def masks() -> list[np.ndarray]:
    dice = np.random.default_rng(0)
    noise = [dice.random((9, 11)) < share for share in (0.1, 0.5, 0.9)]
    wide = np.zeros((300, 400), bool)
    wide[100:250, 20:380] = True
    lengths = [np.arange(size * 2) < size for size in (1, 2, 3, 4, 5, 63, 64, 65, 16383, 16384, 16385, 16386)]
    return [*noise, wide, np.ones((200, 200), bool), np.zeros((2, 3), bool), *[row[None] for row in lengths]]


@pytest.mark.parametrize("mask", masks(), ids=lambda mask: f"{mask.shape[0]}x{mask.shape[1]}")
def test_codes_are_read_as_the_format_says_and_by_us(mask):
    code = encode_brush(mask)
    expected = np.where(mask, 255, 0).astype(np.uint8)
    np.testing.assert_array_equal(plain(code), np.repeat(expected.ravel(), 4))
    np.testing.assert_array_equal(decode_brush(code, *mask.shape), expected)


def test_single_values_soft_edges_and_other_widths():
    """What Label Studio's page writes: rle-pack makes blocks of single values, and edges have any alpha."""
    dice = np.random.default_rng(1)
    values = dice.integers(0, 256, 4 * 6 * 5)
    for widths in ((3, 4, 8, 16), (1, 2, 5, 7)):
        bits = f"{len(values):032b}{7:05b}" + "".join(f"{width - 1:04b}" for width in widths)
        place = 0
        while place < len(values):
            which = int(dice.integers(4))
            length = min(int(dice.integers(1, 9)), 2 ** widths[which], len(values) - place)
            bits += f"0{which:02b}{length - 1:0{widths[which]}b}"
            bits += "".join(f"{value:08b}" for value in values[place : place + length])
            place += length
        bits += "0" * (-len(bits) % 8)
        code = [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]
        np.testing.assert_array_equal(plain(code), values)
        np.testing.assert_array_equal(decode_brush(code, 6, 5), values.reshape(6, 5, 4)[..., 3])


def test_damage_is_a_value_error():
    mask = np.random.default_rng(2).random((20, 30)) < 0.3
    code = encode_brush(mask)
    wrong = [
        None,
        "text",
        [1, 2],
        [*code[:9], 256],
        [*code[:9], 1.5],
        [*code[:9], True],
        code[: len(code) // 2],
        code[:7],
    ]
    for value in wrong:
        with pytest.raises(ValueError, match=r"."):
            decode_brush(value, 20, 30)
    with pytest.raises(ValueError, match="600 pixels in an image of 500"):
        decode_brush(code, 20, 25)
    dice = np.random.default_rng(3)
    for _ in range(200):  # whatever is changed, nothing but ValueError
        changed = list(code)
        for place in dice.integers(0, len(code), 3):
            changed[place] = int(dice.integers(256))
        with suppress(ValueError):
            assert decode_brush(changed, 20, 30).shape == (20, 30)
