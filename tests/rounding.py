"""Equal but for rounding: how far two computations of the same thing may lie apart, stated once for all tests.

float32 has 24 bits, 6e-8. Which products are added first depends on the library, on the processor's instructions (AVX2,
AVX-512, AMX), on the number of threads and on what else is in the batch, and the layers of a network carry on what that
changes. Most of the small models of these tests differ by less than 2e-6 of the largest magnitude. The most sensitive,
the miniature Grounding DINO, differs by 1.1e-5 with the kernels of one processor or another, and by 2.5e-5 where every
product and every mean is disturbed at random by 2 units in the last place. ``ROUNDING`` is above that, and below what
mistakes do: one number of one weight that is wrong by 0.01 moves the answers of that model by 2e-3 (the median over its
347 tensors; by more than ``ROUNDING`` for 9 tensors in 10).
"""

from __future__ import annotations

import numpy as np
import torch

ROUNDING = 1e-4
FLIPPED = 1e-3  # share of pixels that may be on the other side of a threshold; a row or column more is beyond it


def assert_same(got: torch.Tensor | np.ndarray, want: torch.Tensor | np.ndarray) -> None:
    """Equal but for ``ROUNDING``, relative to the largest magnitude of ``want``."""
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=0, atol=ROUNDING * np.abs(want).max(initial=0))
