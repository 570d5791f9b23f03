"""Reads the published folders of the Kaggle fracture set."""

import re

import pandas as pd

from keras_fracture.data import tables

FOLDER = "kaggle_bone_fracture"
HOW_TO_GET = (
    'Download "Fracture detection using x-ray images" (also "Bone fracture detection using x-rays") from '
    "Kaggle and unpack it, so that it holds train/ and val/, each with fractured/ and 'not fractured'/."
)
LICENCE = "none was found (Kaggle, 'Fracture detection using x-ray images')"
PATIENTS = False  # nothing tells them: a source is an X-ray
POLICIES = ("grouped", "paper")
SHARES = (0.72, 0.08, 0.2)  # 90/10 of what is not for testing, as garcia_inception splits train
KNOWN = ()
DIGESTS = {  # of the published split files, see splits/README.md
    "grouped": "a7186e346191bb8f46dc104e141a2d9681993ec34a56540b97b0f1368b73bf7d",
    "paper": "c3cff19426aff93ec0041321eb7d178d21b9db853cfa37f241a34e39b593a818",
}
READS = ()
CLASSES = {"not fractured": 0, "fractured": 1}
_COPY = re.compile(r"(-rotated\d+)+$")


def read(root):
    """Lists the images.

    A file `NAME-rotatedK-rotatedK.jpg` is a rotated copy of `NAME.jpg` of the same folder: that folder and
    NAME are its named source.

    Args:
        root: Folder with train/ and val/.

    Returns:
        A table in the form of `tables.COLUMNS`.

    Raises:
        DataError: A folder is missing or holds no image.
    """
    return listed(root, ("train", "val"))


def listed(root, splits):
    """`read` of the folders `splits`, in each of which are both classes."""
    rows = []
    for split in splits:
        for folder, label in CLASSES.items():
            for path in tables.images(root / split / folder):
                name = _COPY.sub("", path.stem)
                rows.append(
                    {
                        "filename": path.relative_to(root).as_posix(),
                        "label": label,
                        "source": f"{split}/{folder}/{name}",
                        "published_split": split,
                        "finding": "fracture" if label else "none",
                        "copies": path.stem.count("-rotated"),
                    }
                )
    return tables.complete(pd.DataFrame(rows))
