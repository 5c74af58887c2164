"""Label-free seeding by detection, which dino-sam and sam3 share: classify, detect, filter, verify, segment, fuse."""
