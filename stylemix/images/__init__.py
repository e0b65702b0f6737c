"""Image input and output: files, PIL images and tensors in [-1, 1]."""
