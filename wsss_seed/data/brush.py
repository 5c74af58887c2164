"""Label Studio's brush masks: run lengths as bits, by rle-pack of thi.ng/umbrella.

A header has the number of values (32 bits), the bits of a value less one (5), and four widths of lengths less one (4
each). Blocks follow: a bit that is 1 for a run and 0 for single values, the number of a width (2), the length less one,
and then one value, or as many as the length says. All numbers have their highest bit first. Values are those of an RGBA
picture, row by row, whose alpha is the mask.
"""

from __future__ import annotations

import numpy as np

_WIDTHS = np.array([3, 4, 8, 16], np.int64)  # those of Label Studio
_LONGEST = 1 << 16
_HEADER = 32 + 5 + 4 * 4


def encode_brush(mask: np.ndarray) -> list[int]:
    """The bytes of a mask bool (H, W); its pixels are 255 in all channels, the others 0."""
    flat = mask.ravel()
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
    lengths = 4 * np.diff(np.append(starts, flat.size))
    values = np.where(flat[starts], 255, 0)
    pieces = -(-lengths // _LONGEST)
    last = lengths - (pieces - 1) * _LONGEST
    blocks = np.repeat(np.full(len(lengths), _LONGEST), pieces)
    blocks[np.cumsum(pieces) - 1] = last
    values = np.repeat(values, pieces)
    which = np.searchsorted(2**_WIDTHS, blocks)
    width = _WIDTHS[which]
    codes = ((4 + which) << width | (blocks - 1)) << 8 | values
    header = [flat.size * 4, 7, *(_WIDTHS - 1)]
    codes = np.concatenate([np.array(header, np.int64), codes])
    bits = np.concatenate([[32, 5, 4, 4, 4, 4], 3 + width + 8])
    ends = np.cumsum(bits)
    shifts = np.repeat(ends, bits) - 1 - np.arange(ends[-1])
    packed: list[int] = np.packbits(np.repeat(codes, bits) >> shifts & 1).tolist()
    return packed


def decode_brush(code: object, height: int, width: int) -> np.ndarray:
    """The alpha of a brush mask, uint8 (H, W).

    Raises ValueError for what is not a list of bytes, is damaged, or has another number of pixels.
    """
    if not isinstance(code, list) or not all(type(byte) is int and 0 <= byte < 256 for byte in code):
        raise ValueError("run lengths that are not a list of bytes")
    data = bytes(code)
    if len(data) * 8 < _HEADER:
        raise ValueError("run lengths without a header")
    head = int.from_bytes(data[:7], "big") >> 3
    count, bits = head >> 21, (head >> 16 & 31) + 1
    widths = [(head >> shift & 15) + 1 for shift in (12, 8, 4, 0)]
    if count != 4 * height * width:
        raise ValueError(f"run lengths of {count / 4:g} pixels in an image of {height * width}")
    if bits != 8:
        raise ValueError(f"values of {bits} bits, not 8")
    out = np.empty(count, np.uint8)
    at, done, end = _HEADER, 0, len(data) * 8
    while done < count:
        # 40 bits from here on: a block begins with at most 19.
        word = int.from_bytes(data[at >> 3 : (at >> 3) + 6].ljust(6, b"\0"), "big") >> 8 - (at & 7) & (1 << 40) - 1
        size = widths[word >> 37 & 3]
        length = (word >> 37 - size & (1 << size) - 1) + 1
        run = word >> 39
        at += 3 + size
        needed = 8 if run else 8 * length
        if at + needed > end or done + length > count:
            raise ValueError("damaged run lengths")
        first, offset = at >> 3, at & 7
        if run:
            pair = int.from_bytes(data[first : first + 2].ljust(2, b"\0"), "big")
            out[done : done + length] = pair >> 8 - offset & 255
        else:
            taken = np.unpackbits(np.frombuffer(data, np.uint8, min(length + 1, len(data) - first), first))
            out[done : done + length] = np.packbits(taken[offset : offset + 8 * length])
        at += needed
        done += length
    return out.reshape(height, width, 4)[..., 3]
