"""Toyland: synthetic scenes drawn from a random seed, with exact ground truth and no files."""

from .background import PLACES
from .scene import DIFFICULTIES, SPLITS, Scene, ToyObject, draw
from .shapes import CLASSES

__all__ = ["CLASSES", "DIFFICULTIES", "PLACES", "SPLITS", "Scene", "ToyObject", "draw"]
