"""Faces found, aligned, described and segmented."""
