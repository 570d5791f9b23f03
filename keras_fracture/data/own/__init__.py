"""Anybody's X-rays: a folder, or a table in its folder, as a data set; see `layout.read` for what is understood."""

from pathlib import Path

from keras_fracture.data import scan
from keras_fracture.data.own import layout, remembered
from keras_fracture.errors import DataError

OPTIONS = remembered.OPTIONS


def find(name, **options):
    """The layout of a remembered data set, or of a path.

    Args:
        name: A name of `remembered`, else a path.
        **options: Some of `OPTIONS`, see `layout.read`; None is as if not given.

    Returns:
        A `layout.Layout`, or None if there is neither such a name nor such a path.

    Raises:
        DataError: It is a name, which has options of its own, and others were given; or as `layout.read`.
    """
    if name in (known := remembered.read()):
        given = {option: value for option, value in options.items() if value is not None}
        called, options = name, dict(known[name])
        name = options.pop("path")
        if any(options[option] != value for option, value in given.items()):
            raise DataError(
                f"This data set is remembered with its own options: leave others out, or add it anew. "
                f"Received: {given}, remembered: {options}"
            )
        if not Path(name).exists():
            raise DataError(f"The files of this data set are gone: add it anew. Received: {name}")
        if Path(called).exists() and Path(called).resolve() != Path(name):
            raise DataError(
                f"A data set of this name is remembered, {name}, and there is a file or folder here as well: write "
                f"./{called} for that. Received: {called!r}"
            )
    path = Path(name).expanduser().resolve()
    if not path.exists():
        return None
    state = scan.folder_fingerprint(path.parent if path.is_file() else path, movable=False)
    return layout.read(path, *(options.get(option) for option in OPTIONS), state=state)
