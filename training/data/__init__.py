"""Training datasets: folders, zips and shards; order, labels, loader."""
