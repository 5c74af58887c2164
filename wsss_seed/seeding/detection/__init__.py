"""The detection pipeline of dino-sam and sam3: classify, detect, filter, verify, segment and fuse."""
