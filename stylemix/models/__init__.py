"""A model in memory and as a file, ours or another program's."""
