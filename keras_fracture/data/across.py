"""Images of one data set that also stand in another: `keras-fracture data audit NAME --against OTHER`."""

import numpy as np
import pandas as pd

from keras_fracture import files
from keras_fracture.data import sources, tables
from keras_fracture.errors import DataError

_WORDS = {0: "healthy", 1: "finding"}
_SEEN = (
    "seen: equal pixels, and copies of another size, brightness or contrast, or (most of them) compressed anew; "
    "not seen: copies turned by more than a degree, mirrored, cropped, inverted or with equalised contrast, so that "
    "there may be more"
)


def matches(ours, theirs, drawn=False):
    """For each image one that shows the same in another table.

    Args:
        ours: A table as in `catalogue.Catalogue`.
        theirs: Another, or some of its rows.
        drawn: Whether images have to be equal, as drawn ones, many of which look alike.

    Returns:
        A `pandas.DataFrame` like `ours`: `row`, the position in `theirs` of an equal image, else of the nearest one,
        -1 where there is none; `bits`, how many bits of the difference hash differ; `equal`, whether pixels are.
    """
    # Of equal images the first counts; images of one grey level all hash alike.
    digests = pd.Series(np.arange(len(theirs)), theirs["digest"].to_numpy())
    digests = digests[~digests.index.duplicated() & (digests.index != "")]
    same = ours["digest"].map(digests)
    equal = same.notna().to_numpy()
    row, bits = np.where(equal, same.fillna(-1), -1).astype(int), np.zeros(len(ours), int)
    if not drawn:
        near = [table["hash"].mask(table["deviation"] < 2, "").tolist() for table in (ours, theirs)]
        index, distance = sources.nearest(*near)
        row, bits = np.where(equal, row, index), np.where(equal, 0, distance)
    return pd.DataFrame({"row": row, "bits": bits, "equal": equal}, index=ours.index)


def compare(name, ours, against, theirs):
    """Counts the images of a data set that also stand in another.

    Args:
        name: What the data set is called.
        ours: Its `catalogue.Catalogue`.
        against: What the other is called.
        theirs: Its `catalogue.Catalogue`.

    Returns:
        A dict: `name`, `against`, `images`, `copies`, `equal` (those of equal pixels), `unread` (images of each that
        cannot be read), `groups` (a list of dicts: `split`, `label`, `images`, `copies`, and `in` of a dict of the
        other's splits to copies there), and `pairs`, a `pandas.DataFrame` of the copies: `filename`, `split`, `label`,
        `same_as`, `its_split`, `its_label`, `bits`, `equal_pixels`.

    Raises:
        DataError: It is one data set.
    """
    if ours.root == theirs.root:
        raise DataError(f"A data set is compared with another one: name two. Received: {name}, {against}")
    table, other = ours.table, theirs.table
    found = matches(table, other, drawn=ours.root is None or theirs.root is None)
    copied = (found["row"] >= 0).to_numpy()
    there = other.iloc[found["row"][copied]]
    pairs = pd.DataFrame(
        {
            "filename": table["filename"][copied].to_numpy(),
            "split": table["published_split"][copied].to_numpy(),
            "label": table["label"][copied].to_numpy(),
            "same_as": there["filename"].to_numpy(),
            "its_split": there["published_split"].to_numpy(),
            "its_label": there["label"].to_numpy(),
            "bits": found["bits"][copied].to_numpy(),
            "equal_pixels": found["equal"][copied].to_numpy(),
        }
    )
    groups = []
    for (split, label), rows in table.groupby(["published_split", "label"]):
        copies = pairs[(pairs["split"] == split) & (pairs["label"] == label)]
        where = {
            str(part): int(n) for part, n in copies["its_split"].value_counts(sort=False).items() if part
        }
        groups.append(
            {"split": split, "label": int(label), "images": len(rows), "copies": len(copies), "in": where}
        )
    return {
        "name": name,
        "against": against,
        "images": len(table),
        "copies": len(pairs),
        "equal": int(pairs["equal_pixels"].sum()),
        "unread": [int((each["error"] != "").sum()) for each in (table, other)],
        "groups": groups,
        "pairs": pairs,
    }


def as_text(report):
    """What `compare` returned as lines for a terminal."""
    name, against, copies, pairs = (report[key] for key in ("name", "against", "copies", "pairs"))
    lines = [
        f"{copies:,} of {report['images']:,} images of {name} ({copies / report['images']:.1%}) also stand in "
        f"{against}.",
        f"{report['equal']:,} with equal pixels, {copies - report['equal']:,} nearly equal: at most {sources.NEAR} of "
        "256 bits of the difference hash differ",
        f"{'split':<12}{'label':<9}{'images':>9}{'copies':>9}",
    ]
    for group in report["groups"]:
        where = ", ".join(f"{n:,} in its {split}" for split, n in group["in"].items())
        line = f"{group['split'] or 'none':<12}{_WORDS[group['label']]:<9}{group['images']:>9,}{group['copies']:>9,}"
        lines.append(f"{line}  {where}".rstrip())
    opposite = pairs[pairs["label"] != pairs["its_label"]]
    if len(opposite):
        first = opposite.iloc[0]
        lines.append(
            f"the other label there: {len(opposite):,} copies, the first is {first['filename']} = {first['same_as']}"
        )
    mine, its = report["unread"]
    if mine or its:
        lines.append(f"not readable, and so not compared: {mine:,} of {name}, {its:,} of {against}")
    return "\n".join([*lines, _SEEN])


def write(report, out):
    """Writes the copies as `against-OTHER.csv` into a folder, which is made if missing; returns its path."""
    path = files.folder(out) / f"against-{report['against']}.csv"
    return files.write_text(path, tables.csv_text(report["pairs"]))
