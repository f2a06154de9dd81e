"""Benchmarks: python -m benchmarks <name> [--short]. One file each, with a `run(short)`."""
