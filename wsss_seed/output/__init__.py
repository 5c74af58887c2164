"""What goes out: index PNGs, the manifest, the run folder."""
