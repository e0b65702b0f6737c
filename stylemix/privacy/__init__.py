"""What a model gives away of the images that it learned from."""
