"""Toyland: a world drawn from a seed, with exact ground truth and nothing stored."""

from .background import PLACES
from .scene import SPLITS, Scene, ToyObject, draw
from .shapes import CLASSES

__all__ = ["CLASSES", "PLACES", "SPLITS", "Scene", "ToyObject", "draw"]
