"""Style files and edit directions."""
