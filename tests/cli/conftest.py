"""Fixtures of checkpoints, shared by models and commands."""

from tests.models.own_checkpoint import home, mine, networked, server  # noqa: F401
