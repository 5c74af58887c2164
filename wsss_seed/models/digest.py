"""The fingerprint of weights in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch


def digest_of(tensors: Mapping[str, torch.Tensor], precision: str = "fp32") -> str:
    """SHA-256 of named tensors, the same wherever they were loaded from and on whichever device they are, but another
    where they are computed with in less than fp32."""
    digest = hashlib.sha256(b"" if precision == "fp32" else precision.encode())
    for name, tensor in tensors.items():
        digest.update(f"{name} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()
