"""Bytes on disk: whole files, file kinds, npz, unfinished work, the cache, shipped assets."""
