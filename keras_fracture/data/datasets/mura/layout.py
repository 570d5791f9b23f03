"""Reads the published lists and studies of MURA v1.1."""

import numpy as np
import pandas as pd

from keras_fracture.data import tables
from keras_fracture.errors import DataError

FOLDER = "MURA-v1.1"
HOW_TO_GET = (
    "Register with Stanford's AIMI center for MURA (Rajpurkar et al. 2017), download MURA-v1.1 and unpack it, so that "
    "the folder holds train/, valid/ and the four csv files beside them."
)
LICENCE = "Stanford's research use agreement (MURA, Rajpurkar et al. 2017)"
POLICIES = ("grouped", "paper", "official")
SHARES = (0.7, 0.1, 0.2)
KNOWN = ("body_part",)
REGIONS = ("elbow", "finger", "forearm", "hand", "humerus", "shoulder", "wrist")
SPLITS = {"train": "train", "valid": "val"}
LISTS = ("image_paths.csv", "labeled_studies.csv")
READS = tuple(f"{split}_{name}" for split in SPLITS for name in LISTS)
HOLDS = READS
_STUDY = rf"XR_({'|'.join(REGIONS).upper()})/(patient\d+)/study\d+_(positive|negative)"


def _paths(table, path, pattern):
    """Columns `name`, a path below the data set's folder, `region`, `patient` and `sign` of a list's paths.

    Raises:
        DataError: One is not laid out as published, or is listed twice.
    """
    parts = (
        table["path"]
        .str.extract(rf"^(?:.*/)?({pattern})/?$")
        .set_axis(["name", "region", "patient", "sign"], axis=1)
    )
    for odd, words in (
        (
            parts["name"].isna(),
            "a path that is not laid out as XR_REGION/patientN/studyN_positive or _negative",
        ),
        (parts["name"].duplicated(), "a path twice"),
    ):
        if odd.any():
            row = int(np.argmax(odd))
            raise DataError(
                f"{path} has {words}: mend it. Received: {table['path'].iloc[row]!r} in row {row + 1}"
            )
    return parts


def _split(root, split):
    """The images of train/ or valid/."""
    images_csv, studies_csv = (root / f"{split}_{name}" for name in LISTS)
    images = tables.headless(images_csv, ["path"])
    images = _paths(images, images_csv, rf"{split}/{_STUDY}/[\w.-]+\.\w+")
    studies = tables.headless(studies_csv, ["path", "label"])
    studies["name"] = _paths(studies, studies_csv, rf"{split}/{_STUDY}")["name"]
    images["study"] = images["name"].str.rpartition("/")[0]
    said = images["study"].map(studies.set_index("name")["label"])
    images["said"] = pd.to_numeric(said, errors="coerce")  # a spreadsheet may have made 1.0 of 1
    odd = ~images["said"].isin((0, 1))
    if odd.any():
        raise DataError(
            f"{studies_csv} has no 0 or 1 for a study: fetch it again. Received: {images['study'][odd].iloc[0]!r}"
        )
    return images.assign(published_split=SPLITS[split])


def read(root):
    """Lists the images.

    The label is that of the study, positive where it is abnormal, whatever one of its images shows. A study whose
    csv row contradicts the name of its folder is noted in `conflict`.

    Args:
        root: Folder with train/, valid/ and the lists beside them.

    Returns:
        A table in the form of `tables.COLUMNS`, with `patient_told` (always) and `study`.

    Raises:
        DataError: A list or a listed image is missing, or a list is not the published one.
    """
    images = pd.concat([_split(root, split) for split in SPLITS], ignore_index=True)
    tables.refuse_missing([name for name in images["name"] if not (root / name).is_file()], root)
    label = (images["sign"] == "positive").astype(int)
    table = pd.DataFrame(
        {
            "filename": images["name"],
            "label": label,
            "source": images["patient"],
            "patient_told": True,
            "body_part": images["region"].str.lower(),
            "published_split": images["published_split"],
            "finding": np.where(label == 1, "abnormal", "none"),
            "study": images["study"],
            "conflict": np.where(
                images["said"] == label,
                "",
                "folder " + images["sign"] + ", csv " + images["said"].astype(int).astype(str),
            ),
        }
    )
    return tables.complete(table)
