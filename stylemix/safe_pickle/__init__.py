"""A pickle reader that runs no code from the file."""
