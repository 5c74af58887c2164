"""Output: index PNGs, the manifest, the run folder, exports and reports."""
