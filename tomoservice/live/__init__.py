"""Reconstruction while the scan runs: follows runs as they grow and keeps `/live/{run_uid}` up to date."""
