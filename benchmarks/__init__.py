"""Measures this package on this machine: `python -m benchmarks`. Timings live here, never in tests."""
