"""Train the byte-pair vocabulary of the miniature CLIP, in the file format of open_clip's SimpleTokenizer.

    python make_bpe.py [OUT.txt.gz]

Every caption word becomes one token; any other text is split into subwords and single letters.
"""

from __future__ import annotations

import gzip
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

from wsss_seed.data.toyland import CLASSES, PLACES
from wsss_seed.data.toyland.shapes import COLOURS

PLURALS = {"fish": "fish", "snowman": "snowmen"} | {
    name: name + "s" for name in CLASSES if name not in ("fish", "snowman")
}
_OTHER_WORDS = (
    "a an the photo picture drawing image of with and in on at near there is are scene background ground good bad "
    "clean cropped close up large small big little many one two three four object thing nothing empty no other wooden "
    "pattern patterned textured dark bright surface place origami"
)
WORDS = tuple(dict.fromkeys((*CLASSES, *PLURALS.values(), *PLACES, *COLOURS, *_OTHER_WORDS.split())))
BUNDLED = Path(__file__).parents[2] / "wsss_seed/models/tiny/bpe.txt.gz"


def learn(words: tuple[str, ...]) -> list[str]:
    """The merges, most frequent pair first, that make one token of each word."""
    pieces = [[*word[:-1], word[-1] + "</w>"] for word in words]
    merges = []
    while pairs := Counter(pair for word in pieces for pair in pairwise(word)):
        pair = max(pairs, key=lambda p: (pairs[p], p))
        merges.append(" ".join(pair))
        for word in pieces:
            i = 0
            while i < len(word) - 1:
                if (word[i], word[i + 1]) == pair:
                    word[i : i + 2] = ["".join(pair)]
                i += 1
    return merges


def write(path: Path) -> int:
    """Write the vocabulary, byte for byte the same each time; returns the number of merges."""
    merges = learn(WORDS)
    text = "\n".join(["#version: 0.2", *merges])  # the reader skips the first line and expects no empty last line
    path.write_bytes(gzip.compress(text.encode(), mtime=0))
    return len(merges)


if __name__ == "__main__":
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else BUNDLED
    print(f"{write(out)} merges in {out}")
