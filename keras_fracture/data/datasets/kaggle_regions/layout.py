"""Reads the published folders of Kaggle's multi-region fracture set."""

from keras_fracture.data.datasets.kaggle_fracture import layout as copies

FOLDER = "Bone_Fracture_Binary_Classification"
HOW_TO_GET = (
    'Download "Fracture Multi-Region X-ray Data" (bmadushanirodrigo) from Kaggle and unpack it, so that the folder '
    "holds train/, val/ and test/, each with fractured/ and 'not fractured'/."
)
LICENCE = "none was found (Kaggle, 'Fracture Multi-Region X-ray Data')"
PATIENTS = False  # nothing tells them: a source is an X-ray
POLICIES = ("grouped", "paper", "official")
SHARES = (0.7, 0.1, 0.2)
KNOWN = ()
READS = ()


def read(root):
    """Lists the images.

    As far as names tell, a file `NAME-rotatedK.jpg` is a copy of `NAME.jpg` of the same folder.

    Args:
        root: Folder with train/, val/ and test/, or with a folder of its own name that holds them, as archived.

    Returns:
        A table in the form of `tables.COLUMNS`, with `copies`.

    Raises:
        DataError: A folder is missing or holds no image.
    """
    below = f"{FOLDER}/" if (root / FOLDER).is_dir() else ""
    table = copies.listed(root / below, ("train", "val", "test"))
    return table.assign(filename=below + table["filename"])
