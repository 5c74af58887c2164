"""Many images: order, resume, shards, errors, progress."""
