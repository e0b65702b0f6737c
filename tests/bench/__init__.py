"""Benchmarks: `python -m tests.bench.all` runs them from the root of a checkout, uninstalled."""
