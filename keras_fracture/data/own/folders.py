"""The image files below a folder: their names, which one is meant by a name, and what folders say of them."""

import functools
import itertools
import os
import posixpath
from collections import Counter, defaultdict
from pathlib import Path

from keras_fracture import files
from keras_fracture.data import dicom, tables
from keras_fracture.errors import DataError

_DICOM = (".dcm", ".dicom")
SUFFIXES = (".bmp", *_DICOM, ".jpeg", ".jpg", ".png", ".tif", ".tiff")
SPLITS = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip


class Folder:
    """All files below a folder, but for hidden ones.

    Attributes:
        root: The folder.
        images: Paths of the image files below it (DICOM also without an ending), with forward slashes, in the order of
            `keras.utils.image_dataset_from_directory`.
        others: Those of the other files.
    """

    def __init__(self, root):
        self.root = Path(root)
        names = [name for name in _walk(self.root) if not files.is_hidden_copy(name)]
        is_image = [name.lower().endswith(SUFFIXES) or is_dicom(self.root / name) for name in names]
        self.images = list(itertools.compress(names, is_image))
        self.others = [name for name, image in zip(names, is_image, strict=True) if not image]
        for name in self.images:
            if not name.isprintable():  # control characters, and bytes that are no UTF-8
                raise DataError(
                    f"{root} holds a file whose name cannot be printed: rename it. Received: {name!a}"
                )
            if not (self.root / name).is_file():
                raise DataError(f"{self.root / name} is not a file, or a link to none: remove it")
        self._known = set(self.images)

    @functools.cached_property
    def _by_name(self):
        """Images by the last part of their path, with and without its ending; sorted out at the first use."""
        return self._sorted_out(str)

    @functools.cached_property
    def _by_folded(self):
        """The same by names as `_folded` has them, sorted out at the first use: 1.PNG may mean 1.png."""
        return self._sorted_out(_folded)

    def _sorted_out(self, fold):
        found = defaultdict(list)
        for name in self.images:
            last = posixpath.basename(fold(name))
            for key in {last, posixpath.splitext(last)[0]}:
                found[key].append(name)
        return found

    def find(self, name, where, near=""):
        """The image that a table or an annotation file names.

        Args:
            name: A path, absolute or below the folder or `near`, or its end; the ending may be missing, and the case
                or the spelling of letters with accents another, unless an image has this one.
            where: What errors call the place that names it.
            near: Path below the folder of the place that names it.

        Returns:
            One of `images`, or None.

        Raises:
            DataError: The path leads out of the folder, or several images end in it.
        """
        name = name.strip().replace("\\", "/")
        if name.startswith("/") or name[1:3] == ":/":
            # An image may be a link itself, or be linked to.
            inside = Path(name).parent.resolve() / Path(name).name
            inside = inside if inside.is_relative_to(self.root) else Path(name).resolve()
            if not inside.is_relative_to(self.root):
                raise _leaves(name, where, self.root)
            near, name = "", inside.relative_to(self.root).as_posix()
        beside, name = posixpath.normpath(posixpath.join(near, name)), posixpath.normpath(name)
        if beside.startswith("../") or beside == "..":
            raise _leaves(name, where, self.root)
        for path in (beside, name):
            if path in self._known:
                return path
        ends = _ending(self._by_name, name, str)
        ends = ends or _ending(self._by_folded, _folded(name), _folded)
        return self._nearest(ends, near, f"{name!r} in {where}")

    def beside(self, path):
        """The image that an annotation file of the same name belongs to, or None; errors as in `find`."""
        folder, last = posixpath.split(path)
        named = [
            name
            for name in self._by_name.get(posixpath.splitext(last)[0], ())
            if posixpath.splitext(posixpath.basename(name))[0] == posixpath.splitext(last)[0]
        ]
        return self._nearest([name for name in named if self._same_side(name, path)], folder, path)

    @staticmethod
    def _same_side(image, annotation):
        """Whether no split's folder parts them: train/labels/1.txt says nothing of val/images/1.png."""
        sides = [
            {SPLITS[part.lower()] for part in path.split("/")[:-1] if part.lower() in SPLITS}
            for path in (image, annotation)
        ]
        return not all(sides) or bool(sides[0] & sides[1])

    def _nearest(self, paths, near, what):
        """The one of some images that has most folders in common with `near`, as train/images with train/labels."""
        if len(paths) < 2:
            return paths[0] if paths else None
        folders = Counter(near.split("/"))
        common = [
            ((Counter(path.split("/")[:-1]) & folders).total(), posixpath.dirname(path) == near)
            for path in paths
        ]
        if common.count(max(common)) > 1:
            raise DataError(
                f"{self.root} has {len(paths)} images that {what} could mean: name their folders too. "
                f"Received: {paths[0]!r} and {paths[1]!r}"
            )
        return paths[common.index(max(common))]


def _folded(name):
    return tables.composed(name.casefold())


def _ending(by_name, name, fold):
    """The images whose path ends in `name`, with its ending or without; `fold` makes of theirs what `name` is."""
    return [
        path
        for path in by_name.get(posixpath.basename(name), ())
        if f"/{name}"
        in (f"/{fold(path)}"[-len(name) - 1 :], f"/{posixpath.splitext(fold(path))[0]}"[-len(name) - 1 :])
    ]


def _walk(root):
    found = []
    for folder, below, names in os.walk(root):
        hidden = [name for name in below if name.startswith(".") or name == "__MACOSX"]
        for name in below:
            if os.path.islink(os.path.join(folder, name)) and name not in hidden:
                raise DataError(
                    f"{root} has a link to a folder, which is not followed: put its files there, or remove it. "
                    f"Received: {name!r}"
                )
        below[:] = [name for name in below if name not in hidden]
        found.append((folder, sorted(name for name in names if not name.startswith("."))))
    return [
        Path(folder, name).relative_to(root).as_posix() for folder, names in sorted(found) for name in names
    ]


def is_dicom(path):
    """Whether a file of DICOM's endings, or of none, is one; archives name theirs by a UID. DICOMDIR lists others."""
    ending = path.suffix.lower()
    if (
        (ending and ending not in _DICOM and not ending[1:].isdecimal())
        or path.name.upper() == "DICOMDIR"
        or not path.is_file()
    ):
        return False
    with path.open("rb") as stream:
        return dicom.is_dicom(stream.read(132))


def _leaves(name, where, root):
    return DataError(f"A path in {where} leads out of {root}: put the image there. Received: {name!r}")


def splits_and_classes(images):
    """What the folders of images say: train / val / test above, then classes; single folders round all do not count.

    Args:
        images: Paths with forward slashes.

    Returns:
        Two lists, an element an image: "train", "val", "test" or "", and the name of the class's folder or "".
    """
    parts = _within([name.split("/")[:-1] for name in images])
    splits = [""] * len(images)
    tops = {part[0].lower() for part in parts if part}
    if len({SPLITS.get(top) for top in tops}) > 1 and tops <= set(SPLITS):
        splits = [SPLITS[part[0].lower()] if part else "" for part in parts]
        parts = _within([part[1:] for part in parts])
    return splits, [tables.composed(part[0]) if part else "" for part in parts]


def _within(parts):
    """Folders without those at their beginning that are round all images."""
    while parts and all(parts) and len({part[0] for part in parts}) == 1:
        parts = [part[1:] for part in parts]
    return parts
