"""File access: atomic writes, file types, npz, resumable work files, the cache, shipped assets."""
