"""The error that benchmarks raise on purpose."""

from keras_fracture.errors import FractureError


class BenchmarkError(FractureError):
    """Something cannot be measured here, or not as asked."""
