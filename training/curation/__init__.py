"""From photos to a dataset: crop, filter, deduplicate, label, pack."""
