"""Trained models by their names: some come with the package, the others are fetched from its release."""

import importlib.metadata
import json
import os
import shutil
import tarfile
from pathlib import Path

from keras_fracture import __version__, files
from keras_fracture.data import locations
from keras_fracture.data.fetching import fetch
from keras_fracture.errors import DataError, ModelError, OutputError, meant

VARIABLE = "KERAS_FRACTURE_MODELS"  # address of a folder with the archives, in place of the release's
FOLDER = "saved_models"
_PACKAGE = Path(__file__).resolve().parents[1]
# The checkout's come before those that `pip install` put into the package.
_PLACES = (_PACKAGE.parent / FOLDER, _PACKAGE / FOLDER)
_UNSET = "OWNER"  # of a repository's address that nobody has filled in


def index():
    """The known models: a dict of name to `task`, `data`, `licence`, `bytes`, `sha256`, `metrics` and `bundled`.

    Raises:
        ModelError: The package was installed without its list, or it is damaged.
    """
    for place in _PLACES:
        path = place / "index.json"
        if path.is_file():
            try:
                return json.loads(path.read_text(encoding="utf-8"))["models"]
            except (ValueError, KeyError, TypeError) as error:
                raise ModelError(
                    f"{path} is no list of models: install the package again. Received: {error}"
                ) from None
    return {}


def here(name):
    """The folder of a known model that need not be fetched, or None."""
    places = (Path(FOLDER), *_PLACES, _cached(name).parent if name in index() else Path(FOLDER))
    return next((place / name for place in places if (place / name).is_dir()), None)


def folder_of(model):
    """The folder that a path or the name of a known model stands for; a model that is not here is fetched.

    Args:
        model: Path of a folder, or a name of `index`.

    Returns:
        A `Path`. Of a path that is not there, it itself.

    Raises:
        ModelError: There is no model of that name, or it cannot be fetched.
    """
    path = Path(model)
    name = str(model)
    if path.is_dir() or path.name != name:
        return path
    if found := here(name):
        return found
    if name not in index():
        known = ", ".join(sorted(index())) or "none"
        raise ModelError(
            f"There is no such model. Name a folder, or one of {known}. {meant(name, index())}Received: {name!r}"
        )
    return _fetched(name)


def address(name):
    """Where the archive of a known model lies.

    Raises:
        ModelError: The package does not say where its repository is.
    """
    base = os.environ.get(VARIABLE)
    if not base:
        urls = importlib.metadata.metadata("keras-fracture").get_all("Project-URL") or []
        named = dict(url.split(", ", 1) for url in urls)
        if _UNSET in named.get("Repository", _UNSET).split("/"):
            raise ModelError(
                f"{name} is not part of this installation, which does not say where releases are: set {VARIABLE} to "
                f"the address of a folder with {name}.tar, or take it from the repository's {FOLDER}/"
            )
        base = f"{named['Repository']}/releases/download/v{__version__}"
    return f"{base.rstrip('/')}/{name}.tar"


def archive(folder, path):
    """Writes a model's folder as a tar file whose bytes depend on its files alone.

    Args:
        folder: Path of a model.
        path: File to write.

    Returns:
        `path`.
    """
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as packed:
        for file in sorted(each for each in folder.rglob("*") if each.is_file()):
            member = tarfile.TarInfo(f"{folder.name}/{file.relative_to(folder).as_posix()}")
            member.size = file.stat().st_size
            with file.open("rb") as stream:
                packed.addfile(member, stream)
    return path


def _cached(name):
    return locations.cache_dir() / "models" / index()[name]["sha256"][:16] / name


def _fetched(name):
    """Fetches a known model into the cache; returns its folder."""
    entry, folder = index()[name], _cached(name)
    url = address(name)
    advice = f"Without a network, put {name}/ of the repository's {FOLDER}/ into {FOLDER}/ here"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with files.locked(folder.parent / "lock", wait=True):
            if not folder.is_dir():  # another process may have been first
                packed = folder.parent / f"{name}.tar"
                _unpack(fetch(url, packed, entry["bytes"], entry["sha256"], advice, "sha256"), folder)
    except DataError as error:
        raise ModelError(f"{name} cannot be fetched: {error}") from None
    except OSError as error:
        raise OutputError(f"{name} cannot be kept in {folder.parent}: {error.strerror or error}") from None
    return folder


def _unpack(packed, folder):
    """Makes a model's folder of its archive, whose checksum is that of the index, and deletes that."""
    beside = folder.with_name(f".{folder.name}.unpacking")
    shutil.rmtree(beside, ignore_errors=True)
    careful = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # Python 3.11.3 has none
    with tarfile.open(packed) as content:
        content.extractall(beside, **careful)
    (beside / folder.name).rename(folder)
    shutil.rmtree(beside, ignore_errors=True)
    packed.unlink()
