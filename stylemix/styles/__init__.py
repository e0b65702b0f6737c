"""Style files and edit directions: what changes an image."""
