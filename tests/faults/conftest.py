"""Tells `make soak` how many inputs were tried."""

import json
import os
from pathlib import Path

from tests.faults import counting


def pytest_sessionfinish():
    if "FAULTS_COUNTS" in os.environ:
        Path(os.environ["FAULTS_COUNTS"]).write_text(json.dumps(counting.tried), encoding="utf-8")
