"""Styles learned from images: looks, fine-tuning, JoJoGAN, MyStyle."""
