"""Grids of points and crops for automatic masks: segment_anything's own, behind this room's door."""

from segment_anything.utils.amg import build_point_grid, generate_crop_boxes, is_box_near_crop_edge

__all__ = ["build_point_grid", "generate_crop_boxes", "is_box_near_crop_edge"]
