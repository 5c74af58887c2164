"""Evaluation of label maps against ground truth."""
