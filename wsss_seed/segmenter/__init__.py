"""Stage II: trains an off-the-shelf segmenter on masks, however they were made."""
