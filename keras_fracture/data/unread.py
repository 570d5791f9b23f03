"""Files that a data folder holds and its layout does not read: counted, so that none goes missing without a word."""

import fnmatch

from keras_fracture import files
from keras_fracture.data.tables import SUFFIXES


def unread(root, layout, filenames):
    """Counts the files that are not read, by ending and reason.

    Args:
        root: The data set's folder.
        layout: Its layout; `READS` are patterns of what is read beside images, in which ** alone stands for slashes,
            too. That of own X-rays says in `used` which other files are, and in `left_out` why the rest is not.
        filenames: The images that are read, as in the table.

    Returns:
        A list of dicts `kind` (the ending), `count`, `why`, `first` (path below `root`), most first.
    """
    read = {*filenames, *getattr(layout, "used", ())}
    reasons = getattr(layout, "left_out", {})
    folders = {name.rpartition("/")[0] for name in read}
    files_by_kind = {}
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        name = path.relative_to(root).as_posix()
        hidden = files.is_hidden_copy(name)
        if name in read or (not hidden and any(_matches(name, pattern) for pattern in layout.READS)):
            continue
        if hidden:
            why = "written by macOS beside another file"
        elif any(part.startswith(".") for part in name.split("/")):
            why = "hidden: its name, or that of its folder, begins with a dot"
        elif name in reasons:
            why = reasons[name]
        elif name.rpartition("/")[0] not in folders:
            why = "not in a folder, or not of a name, that this layout reads"
        elif path.suffix.lower() in SUFFIXES:
            why = "not in the table"
        else:
            why = f"not an image file this layout reads ({', '.join(SUFFIXES)})"
        kind = path.suffix.lower() or "without an ending"
        files_by_kind.setdefault((kind, why), []).append(name)
    return [
        {"kind": kind, "count": len(names), "why": why, "first": names[0]}
        for (kind, why), names in sorted(files_by_kind.items(), key=lambda pair: -len(pair[1]))
    ]


def _matches(name, pattern):
    deep = "**" in pattern or name.count("/") == pattern.count("/")
    return deep and fnmatch.fnmatch(name, pattern)


def as_lines(kinds):
    """The list of `unread` as lines: none where all is read, else a total and a line a kind."""
    if not kinds:
        return []
    total = sum(each["count"] for each in kinds)
    return [f"not read: {total:,} files of the data folder"] + [
        f"{each['count']:>9,} {each['kind']}: {each['why']}; the first is {each['first']!a}" for each in kinds
    ]
