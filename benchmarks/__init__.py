"""Benchmarks: what the project claims, measured; see README.md here."""
