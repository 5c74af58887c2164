"""Stage II: masks in, a trained off-the-shelf segmenter out. Knows nothing of how the masks were made."""
