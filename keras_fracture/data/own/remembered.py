"""Own data sets by name: where they lie and how they are read, kept in the cache's folder."""

import json
import re

from keras_fracture import files
from keras_fracture.data import locations
from keras_fracture.errors import DataError, one_line

OPTIONS = ("finding", "columns", "patient")


def path():
    """The file they are kept in."""
    return locations.cache_dir() / "own_data.json"


def read():
    """All that are remembered: a dict of name to a dict of `path` (str) and `OPTIONS` (str or None).

    Raises:
        DataError: The file is damaged.
    """
    try:
        content = json.loads(path().read_text(encoding="utf-8"))
        return {
            str(name): {"path": str(entry["path"])} | {option: entry[option] for option in OPTIONS}
            for name, entry in content.items()
        }
    except FileNotFoundError:
        return {}
    except (AttributeError, KeyError, OSError, RecursionError, TypeError, ValueError) as error:
        raise DataError(
            f"{path()} cannot be read: delete it, and add the data sets anew. Received: {one_line(error)}"
        ) from None


def add(name, where, taken, **options):
    """Remembers a data set; one of the same name is replaced.

    Args:
        name: Letters, digits, `_` and `-`.
        where: Its folder or table.
        taken: Names that it may not have.
        **options: Some of `OPTIONS`.

    Raises:
        DataError: Another name.
        OutputError: The cache cannot be written.
    """
    if name in taken or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        raise DataError(
            f"A name has letters, digits, _ and -, and is none of {', '.join(taken)}. Received: {name!r}"
        )
    with files.locked(path().with_suffix(".lock"), wait=True):
        entry = {"path": str(where)} | {option: options.get(option) for option in OPTIONS}
        files.write_text(path(), json.dumps(read() | {name: entry}, indent=1) + "\n")
