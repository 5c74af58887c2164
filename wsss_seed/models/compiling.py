"""torch.compile of SAM's image encoder, as an option.

On an AMD EPYC (2 cores, torch 2.15, SAM ViT-B), the compiled encoder takes 0.87 of the time in fp32 and 0.86 in bf16.
On an A100 segment-anything-fast measured 19.2 images per second instead of 14.9. Compiling takes one to two minutes, so
it is off by default.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..errors import UsageError, one_line
from ..io import steps

if TYPE_CHECKING:
    from .sam import Sam

log = logging.getLogger(__name__)


def compile_encoder(sam: Sam) -> None:
    """Compile the image encoder of a SAM, which is then used for one image at a time.

    Results differ by rounding. It is compiled here, by encoding a blank image, and not at the first image of a run.

    Raises:
        UsageError: it cannot be compiled, for example because there is no C++ compiler.
    """
    with steps.timed(f"compiling the image encoder of {sam.name}"):
        try:
            check_compiler(sam.device)
            sam.model.image_encoder.compile()
            sam.encode_singly()
            sam.embed(np.zeros((64, 64, 3), np.uint8))
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # of torch, triton, the compiler or the system
            raise UsageError(
                f"`compile`: torch cannot compile SAM's image encoder here ({one_line(error)}); install a C++ compiler "
                "(Debian, Ubuntu: apt-get install g++), for a GPU also triton, or leave out `compile`"
            ) from None


def check_compiler(device: torch.device) -> None:
    """Compile a sum. Raises an exception of torch, the compiler or the system if that is not possible."""
    torch.compile(lambda x: (x + 1).sum())(torch.ones(64, device=device))
