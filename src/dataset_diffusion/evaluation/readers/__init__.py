"""Benchmarks as they lie on disk, a file for each family of folders."""
