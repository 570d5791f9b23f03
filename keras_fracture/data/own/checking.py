"""What was understood of own X-rays, as lines for a terminal: `keras-fracture data check PATH`."""

import pandas as pd

from keras_fracture.data import splits, unread
from keras_fracture.data.audit import threshold_accuracy
from keras_fracture.data.catalogue import joined, measured, near_across, usable
from keras_fracture.data.numbering import labels_beside
from keras_fracture.data.own.layout import leaks
from keras_fracture.errors import DataError

_TELLING, _ENOUGH = 0.65, 30  # balanced accuracy, and images of each label for it to mean something


def lines(layout, progress=True):
    """Counts, what is left out and why, and which splits there can be.

    Args:
        layout: `own.layout.Layout`.
        progress: Whether to show a progress bar while the images are read.

    Returns:
        A list of lines; and the split policy to go on with, None where no honest one can be had.
    """
    contents = measured("own", layout, layout.root, progress)
    table = contents.table
    boxes = table["boxes"].map(len)
    out = [
        f"{layout.root}: {len(table):,} images, {(table['label'] == 1).sum():,} with a finding, "
        f"{(table['label'] == 0).sum():,} healthy",
        *layout.notes,
        layout.told,
        f"{table['named_source'].nunique():,} named sources, {table['source'].nunique():,} distinct ones once "
        f"{joined(table)} are joined",
        f"{(boxes > 0).sum():,} images with boxes, {boxes.sum():,} boxes",
    ]
    for column, word in (
        ("body_part", "body parts"),
        ("view", "views"),
        ("center", "centers"),
        ("published_split", "splits that come along"),
    ):
        if set(table[column]) - {"unknown", ""}:
            counts = table[column].replace("", "none").value_counts()
            out.append(f"{word}: {', '.join(f'{name} {count:,}' for name, count in counts.items())}")
    leak = leaks(table)
    out += filter(None, [leak, _numbered(usable(table))])
    out += [f"not used: {error}" for error in table["error"] if error]
    conflicts = table[(table["conflict"] != "") & (table["error"] == "")]
    out += [f"not used: {row.filename}: {row.conflict}" for row in conflicts.itertuples()]
    out += unread.as_lines(contents.unread)
    possible = set()
    for policy in layout.POLICIES:
        try:
            side = splits.assign(usable(table), policy, layout.SHARES)
        except DataError as error:
            out.append(f"split policy {policy}: cannot be had. {error}")
            continue
        out.append(
            f"split policy {policy}: {', '.join(f'{(side == name).sum():,} {name}' for name in splits.NAMES)}"
        )
        out += filter(None, [near_across(contents, pd.Series(side, usable(table).index))])
        if lack := splits.lack_for_intervals(usable(table)[side == "test"]):
            out.append(lack)
        else:
            possible.add(policy)
    honest = ("official", "grouped") if not leak else ("grouped",)
    return out, next((policy for policy in honest if policy in possible), None)


def _numbered(table):
    """That files are numbered by label or patient, one line, where no patients are told; "" if they are not."""
    accuracy, _, above = threshold_accuracy(labels_beside(table), table["label"])
    if (
        table["patient_told"].any()
        or table["label"].value_counts().min() < _ENOUGH
        or not above
        or accuracy < _TELLING
    ):
        return ""
    return (
        f"the labels of the two nearest file numbers tell an image's label with balanced accuracy {accuracy:.1%}: "
        "files are numbered by label, or views of one patient follow each other and may be on two sides of a split "
        "(name the patients)"
    )
