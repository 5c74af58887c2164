"""``wsss-seed review``: a local web page on which people judge and correct the masks of a run."""
