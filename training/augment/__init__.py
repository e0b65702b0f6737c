"""The augmentation pipeline of ADA."""
