"""Ours beside a peer, in one run on one machine: ``python -m benchmarks --help``."""
