"""Measures this package on this machine: `keras-fracture benchmark`. Timings live here, never in tests."""
