"""Hostile inputs, more of them than in the suite."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

from benchmarks.processes import CHECKOUT

_TESTS = CHECKOUT / "tests"
_FILES = ("test_images.py", "test_annotations.py", "test_models.py", "test_requests.py")
_CASES = {"weights": "interop/test_bad_weights.py", "archives": "data/test_download.py"}


def inputs(options):
    """Tries hostile inputs of each kind, five times as many as the suite, and two kinds' cases of the suite."""
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        counts, cases = Path(folder) / "counts.json", Path(folder) / "cases.xml"
        paths = [str(_TESTS / "faults" / file) for file in _FILES]
        process = _pytest(*paths, FAULTS_BUDGET="5", FAULTS_COUNTS=str(counts))
        for kind, tried in json.loads(counts.read_text(encoding="utf-8")).items():
            well = tried * (process.returncode == 0)
            yield f"inputs_{kind.replace(' ', '_')}", f"odd and hostile {kind}", tried, well, {}
        for kind, file in _CASES.items():
            process = _pytest(str(_TESTS / file), f"--junitxml={cases}")
            tried = int(ElementTree.parse(cases).find("testsuite").get("tests"))
            well = tried * (process.returncode == 0)
            yield f"inputs_{kind}", f"odd and hostile {kind}: test cases", tried, well, {}


def _pytest(*arguments, **environment):
    command = [sys.executable, "-m", "pytest", *arguments]
    return subprocess.run(command, env=os.environ | environment, check=False)
