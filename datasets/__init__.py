"""Data sets and the ways to feed them (the top-level folder `datasets/`)."""
