"""Models in memory and model files, of stylemix and of other programs."""
