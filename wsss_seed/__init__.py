"""Weakly supervised semantic segmentation seeds from frozen foundation models."""

__version__ = "0.1.0"
