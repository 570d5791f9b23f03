"""What a generator learnt from: written beside its images, so that `judge` looks for copies of the right ones."""

import re
from pathlib import Path
from typing import NamedTuple

from keras_fracture.data import tables
from keras_fracture.errors import ImageError, ModelError, one_line
from keras_fracture.synthesis.records import table_of

_WORDS = re.compile(r"(.+?), split policy `([^`]+)`")


class Origin(NamedTuple):
    """What a generator learnt from, also the columns of `images.csv` that say so.

    Attributes:
        data: The data set's title, see `data.catalogue.title`.
        policy: Of its splits.
        splits: Those that were trained on, as "train" or "train+validation".
        crop: Whether images filled the square and were cropped.
    """

    data: str
    policy: str
    splits: str
    crop: bool


def of_model(facts):
    """The `Origin` of a generator by its metadata, or None where they do not say it.

    Raises:
        ModelError: They say it in a way that cannot be read.
    """
    try:
        if "learnt_from" in facts:
            return _checked(**facts["learnt_from"])
        # Earlier versions said it in words alone; of their generators only those of `bai_dcgan` saw cropped images
        # and, under the policy paper, the validation images.
        told = _WORDS.match(facts.get("trained_on", ""))
        crops = " reproduce bai_dcgan" in facts.get("command", "")
    except (AttributeError, TypeError, ValueError) as error:
        raise ModelError(
            f"What the generator learnt from cannot be read: export it again. Received: {one_line(error)}"
        ) from None
    if not told:
        return None
    data, policy = told.groups()
    return Origin(data, policy, "train+validation" if crops and policy == "paper" else "train", crops)


def of_images(paths):
    """The set of `Origin`s of image files, by the `images.csv` beside them; and of how many files they are.

    Raises:
        ImageError: A table that cannot be read.
    """
    found, told = set(), 0
    for folder in {Path(path).parent for path in paths}:
        table = table_of(folder)
        rows = read_table(table) if table.is_file() else None
        if rows is not None and {"file", *Origin._fields} <= set(rows):
            names = {Path(path).name for path in paths if Path(path).parent == folder}
            own = rows[rows["file"].isin(names)][list(Origin._fields)]
            own = own[(own != "").all(axis=1)]
            told += len(own)
            try:
                found |= {_checked(*row) for row in own.drop_duplicates().itertuples(index=False)}
            except ValueError as error:
                raise ImageError(
                    f"{table} says in a way that cannot be read what the generator learnt from: {error}"
                ) from None
    return found, told


def _checked(data, policy, splits, crop):
    """An `Origin`; `crop` may be text, such as the TRUE of a spreadsheet."""
    crops = {"true": True, "false": False}.get(str(crop).strip().lower())
    if crops is None:
        raise ValueError(f"crop must be True or False. Received: {crop!r}")
    if not set(splits.split("+")) <= {"train", "validation"}:
        raise ValueError(f"splits must be train, validation or train+validation. Received: {splits!r}")
    return Origin(data, policy, splits, crops)


def read_table(path):
    """The table of a folder's images, all columns text.

    Raises:
        ImageError: It cannot be read.
    """
    try:
        content = path.read_bytes()
        return tables.from_csv(
            tables.read_csv(
                content, sep=tables.separator(content), encoding="utf-8-sig", dtype=str, keep_default_na=False
            )
        )
    except ValueError as error:
        raise ImageError(
            f"{path} holds no table that can be read: move it away from the images. Received: {one_line(error)}"
        ) from None
