"""Metrics of image sets, reconstructions, styles and avatars, and the features they use."""
