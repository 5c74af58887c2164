"""The SAM of the tests of proposals."""

import pytest

from wsss_seed.models.sam import load_sam
from wsss_seed.models.zoo import TINY


@pytest.fixture(scope="module")
def sam():
    """The bundled miniature: random weights say much the same about every point."""
    return load_sam(TINY)
