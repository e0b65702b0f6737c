"""Pickles read without running anything."""
