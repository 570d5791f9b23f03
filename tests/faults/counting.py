"""How many inputs the tests of this folder try: few in the suite, `FAULTS_BUDGET` times as many in `make soak`."""

import collections
import os

from hypothesis import settings

BUDGET = int(os.environ.get("FAULTS_BUDGET", "1"))
tried = collections.Counter()


def examples(count):
    """Hypothesis's settings for so many examples, the same at every run."""
    return settings(max_examples=count * BUDGET, deadline=None, derandomize=True)
