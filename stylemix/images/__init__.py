"""Images as files, as PIL images and as tensors in [-1, 1]."""
