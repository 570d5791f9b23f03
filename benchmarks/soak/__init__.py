"""Faults, hostile input, requests and training by the thousand: `python -m benchmarks.soak`."""
