"""Writing results: whole or not at all, by one process at a time, and a clear word where it cannot be done."""

import contextlib
import errno
import logging
import os
import re
import secrets
import shutil
from pathlib import Path, PurePath

import filelock

from keras_fracture.errors import OutputError

_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}
_LOG = logging.getLogger(__name__)
_BESIDE = re.compile(r"\.\d+-.")


def _beside(path):
    """Where `path` is written to until it is whole: a hidden name beside it, of this call alone, with its ending."""
    return path.with_name(f".{os.getpid()}-{secrets.token_hex(4)}-{path.name}")


@contextlib.contextmanager
def _renamed(path):
    """Gives a path beside `path`, renames what the body made there into place, and removes it if that fails."""
    beside = _beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield beside
        _to_disk(beside)
        beside.replace(path)
        _sync(path.parent)  # without it, a power failure may undo the renaming
    except Exception as error:
        if isinstance(error, OSError) or _disk_full(error):
            raise OutputError(f"{path} cannot be written: {_reason(error)}") from error
        raise
    finally:
        with contextlib.suppress(OSError):
            shutil.rmtree(beside) if beside.is_dir() else beside.unlink(missing_ok=True)


def _to_disk(path):
    """Forces a file, or all files of a folder, out of the system's memory."""
    for one in [*path.rglob("*"), path] if path.is_dir() else [path]:
        _sync(one)


def _sync(path):
    if path.is_dir() and not hasattr(os, "O_DIRECTORY"):  # Windows opens no folders
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _disk_full(error):
    """Whether that is behind it: h5py and TensorFlow raise errors of their own then."""
    return os.strerror(errno.ENOSPC) in str(error)


def _reason(error):
    return os.strerror(errno.ENOSPC) if _disk_full(error) else getattr(error, "strerror", None) or error


@contextlib.contextmanager
def writing(path, reserve=0):
    """Gives a path beside `path` to write to, and renames it into place once that worked.

    Args:
        path: The file.
        reserve: Bytes that the disk must have room for, for a library that does not survive a full disk.

    Raises:
        OutputError: The folder cannot be written, or the disk is full.
    """
    with _renamed(Path(path)) as beside:
        if reserve and hasattr(os, "posix_fallocate"):
            with open(beside, "wb") as stream:
                os.posix_fallocate(stream.fileno(), 0, reserve)
        yield beside


def is_hidden_copy(path):
    """Whether a file is macOS's own beside another (`._x.jpg`, `__MACOSX/`): by its name an image, by its bytes none.

    Args:
        path: A path, below a folder or in an archive.
    """
    parts = PurePath(path).parts
    return bool(parts) and (parts[-1].startswith("._") or "__MACOSX" in parts)


def write_text(path, text):
    """Writes a UTF-8 text file; returns its path."""
    with writing(path) as beside:
        beside.write_text(text, encoding="utf-8")
    return Path(path)


def write_bytes(path, data):
    """Writes a file whole or not at all, without waiting for the disk: one of many."""
    beside = _beside(Path(path))
    try:
        beside.write_bytes(data)
        beside.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        raise OutputError(f"{path} cannot be written: {_reason(error)}") from error


def folder(path):
    """Makes a folder and proves that it can be written to; returns it."""
    path = Path(path)
    proof = _beside(path / "writable")
    try:
        path.mkdir(parents=True, exist_ok=True)
        proof.touch()
        proof.unlink()
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {_reason(error)}") from error
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
    folder(path.parent)
    with _renamed(path) as beside:
        yield folder(beside)


@contextlib.contextmanager
def unfinished_folder(path, resume=False):
    """As `new_folder`, but what is done stays when the body is cut off: in `PATH.unfinished`, to be gone on with.

    Args:
        path: The folder.
        resume: Go on with what is there; else it is removed.

    Yields:
        The folder to fill, and the path of the file of finished parts in it (see `parallel`), removed at the end.

    Raises:
        OutputError: `path` exists, another process writes it, the folder cannot be written, or the disk is full.
    """
    path = Path(path)
    if path.exists():
        raise OutputError(f"{path} exists already: name another folder")
    unfinished = path.with_name(f"{path.name}.unfinished")
    parts = unfinished / "parts.jsonl"
    if unfinished.exists() and not resume:
        with locked(f"{parts}.lock") as mine:
            if not mine:
                raise OutputError(
                    f"{path} is written by another process: wait for it, or name another folder"
                )
        shutil.rmtree(unfinished)
    yield folder(unfinished), parts
    sweep(unfinished)
    try:
        _to_disk(unfinished)
        # Not before: it tells what settings a folder that is gone on with is of.
        parts.unlink(missing_ok=True)
        unfinished.replace(path)
        _sync(path.parent)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {_reason(error)}") from error


def sweep(path):
    """Removes what killed processes left half-written below a folder, which nobody else may be writing to."""
    left_over = [one for one in Path(path).rglob(".*") if _BESIDE.match(one.name)]
    for one in left_over:
        shutil.rmtree(one, ignore_errors=True) if one.is_dir() else one.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(path, wait=False):
    """Holds a lock while the body runs, and gives whether it could be had.

    The system frees it when its holder ends, however that happens; the file, which is removed at the end, says nothing
    by being there. Where there are no locks, as on some network storage, it is always had, and a warning says so.

    Args:
        path: The lock's file.
        wait: Wait for another holder; else give False.

    Raises:
        OutputError: The folder cannot be written, or the disk is full.
    """
    path = Path(path)
    lock = filelock.FileLock(path, timeout=-1 if wait else 0)
    try:
        yield _acquired(lock, path)
    finally:
        if lock.is_locked:
            with contextlib.suppress(OSError):  # Windows removes no open file
                path.unlink()  # while it is held: who waits for it takes a new one
            lock.release()


def _acquired(lock, path):
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except filelock.Timeout:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise OutputError(f"{path} cannot be written: {_reason(error)}") from error
        _LOG.warning("no locks in %s (%s): let no other process write there", path.parent, error.strerror)
    return True


def unlock(path):
    """Removes the lock that a killed process left, if it did; one that is held stays."""
    with contextlib.suppress(OutputError):  # of a folder that is only read
        if Path(path).exists():
            with locked(path):
                pass
