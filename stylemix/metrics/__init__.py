"""Features and distances: of image sets, reconstructions, styles and avatars."""
