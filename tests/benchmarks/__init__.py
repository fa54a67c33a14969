"""Benchmarks: ours beside a peer in one run, interleaved. `python -m tests.benchmarks --help`."""
