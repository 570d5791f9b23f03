"""Measures this package on this machine: `keras-fracture benchmark`. Timings live here, never in tests."""

import json
from pathlib import Path

from keras_fracture import files
from keras_fracture.errors import OutputError


def record(path, section, content):
    """Writes the numbers of one benchmark into a JSON file that holds several; the others stay.

    Args:
        path: Such as `results/benchmark.json`; made if it is not there.
        section: Name of the benchmark, such as "models".
        content: What JSON can hold.

    Raises:
        OutputError: The file is there and holds no benchmarks, or cannot be written.
    """
    path = Path(path)
    files.folder(path.parent)
    files.write_text(path, json.dumps(recorded(path) | {section: content}, indent=1) + "\n")


def recorded(path):
    """The benchmarks in a JSON file: a dict of section to numbers, empty if there is no such file."""
    if not Path(path).is_file():
        return {}
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OutputError(f"{path} is no file of benchmarks: {error}") from None
    if not isinstance(content, dict) or not all(isinstance(each, dict) for each in content.values()):
        raise OutputError(f"{path} is no file of benchmarks: delete it, or name another")
    return content
