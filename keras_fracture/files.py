"""Writing results: whole or not at all, and a clear word where it cannot be done."""

import contextlib
import os
import shutil
from pathlib import Path

from keras_fracture.errors import OutputError


@contextlib.contextmanager
def writing(path):
    """Gives a path beside `path` to write to, and renames it into place once that worked.

    Raises:
        OutputError: The folder cannot be written, or the disk is full.
    """
    path = Path(path)
    beside = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield beside
        beside.replace(path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)


def write_text(path, text):
    """Writes a UTF-8 text file; returns its path."""
    with writing(path) as beside:
        beside.write_text(text, encoding="utf-8")
    return Path(path)


def folder(path):
    """Makes a folder and proves that it can be written to; returns it."""
    path = Path(path)
    with writing(path / ".writable") as beside:
        beside.write_bytes(b"")
    (path / ".writable").unlink(missing_ok=True)  # another process may prove the same
    return path


@contextlib.contextmanager
def new_folder(path):
    """Gives a folder beside `path` to fill, and renames it into place once that worked.

    Raises:
        OutputError: `path` exists, the folder cannot be written, or the disk is full.
    """
    path = Path(path)
    if path.exists():
        raise OutputError(f"{path} exists already: name another folder")
    beside = folder(path.parent) / f".{path.name}.{os.getpid()}"
    try:
        yield folder(beside)
        beside.replace(path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
