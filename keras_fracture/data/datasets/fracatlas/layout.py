"""Reads the published folders, csv and boxes (PASCAL VOC, else COCO, else YOLO) of FracAtlas."""

from pathlib import PurePosixPath

import numpy as np
import pandas as pd

from keras_fracture import files
from keras_fracture.data import annotations, tables
from keras_fracture.errors import DataError

FOLDER = "FracAtlas"
HOW_TO_GET = (
    "Run `keras-fracture data prepare fracatlas --download`, or download figshare article 22363012 and "
    "unpack it, so that it holds dataset.csv, images/ and Annotations/."
)
LICENCE = "CC BY 4.0 (FracAtlas, Abedeen et al., Scientific Data 2023)"
PATIENTS = False  # nothing tells them: a source is an X-ray
POLICIES = ("grouped", "paper", "studies")
SHARES = (0.7, 0.2, 0.1)  # lisbon_resnet, Introduction: "70-20-10"
DIGESTS = {  # of the published split files, see splits/README.md
    "grouped": "c8018e16456d342cd26992403f45306dbbfb054aa814ec651dd101a8a2d8092a",
    "paper": "49db1b61657867e59fb4b1f7d4f59caccf0144192f5c230830dec69d12b57200",
    "studies": "b151d5914d9b710ec585609515643d3b7f661c6c1a6099062a68b985c5f304a3",
}
CLASSES = {"Non_fractured": 0, "Fractured": 1}
HOLDS = ("dataset.csv", *(f"images/{name}" for name in CLASSES))
PARTS = ("hand", "leg", "hip", "shoulder")
VIEWS = ("frontal", "lateral", "oblique")
KINDS = {"PASCAL VOC": ".xml", "COCO JSON": ".json", "YOLO": ".txt"}  # folders of Annotations/, best first
KNOWN = ("body_part", "view", "hardware", "multiscan")
READS = ("dataset.csv", *(f"Annotations/{kind}/*{suffix}" for kind, suffix in KINDS.items()))


def _by_stem(content):
    """Boxes of a COCO file by the stem of the image's name."""
    named = annotations.coco(content)
    found = {PurePosixPath(name).stem: boxes for name, boxes in named.items()}
    if len(found) < len(named):
        raise ValueError("an image twice")
    return found


def _boxes(root):
    """Boxes from the first kind of annotations of which there is a file.

    Returns:
        A function of an image's stem to its boxes, and the folders that they may come from, in words.
    """
    folder = root / "Annotations"
    # A folder that another program has copied may be there and empty.
    voc, coco, yolo = (
        sorted(path for path in (folder / kind).glob(f"*{suffix}") if not files.is_hidden_copy(path))
        for kind, suffix in KINDS.items()
    )
    if voc:
        return (
            lambda stem: tables.annotated(
                folder / "PASCAL VOC" / f"{stem}.xml", "PASCAL VOC", annotations.voc
            ),
            "PASCAL VOC",
        )
    if coco:
        known = {}
        for path in coco:
            known = tables.parsed(path, "COCO", _by_stem) | known
        return lambda stem: known.get(stem, np.zeros((0, 4), np.float32)), "COCO JSON"
    return (
        lambda stem: tables.annotated(folder / "YOLO" / f"{stem}.txt", "YOLO", annotations.yolo),
        "YOLO" if yolo else ", else ".join(KINDS),
    )


def read(root):
    """Lists the images.

    The folder is the label. A csv row that disagrees is a conflict, noted in `conflict`. There are no patient numbers;
    near-duplicate images are joined into one source later (see `sources`). But files are numbered as they were filed:
    a frontal view, and behind it the lateral one. `study` joins what may be views of one patient.

    Args:
        root: Folder with dataset.csv, images/ and Annotations/.

    Returns:
        A table in the form of `tables.COLUMNS`, with `hardware`, `multiscan` and `study`.

    Raises:
        DataError: A folder, the csv, a column or a listed image is missing, or a file is damaged.
    """
    images = {folder: tables.images(root / "images" / folder) for folder in CLASSES}
    boxes, told_by = _boxes(root)
    listing = root / "dataset.csv"
    numbers = (*PARTS, "mixed", *VIEWS, "hardware", "multiscan", "fractured")
    csv = tables.listing(listing, numbers, "fractured").set_index("image_id")
    present = {path.name for paths in images.values() for path in paths}
    tables.refuse_missing(set(csv.index) - present, root / "images")
    parts = tables.one_hot_names(csv, PARTS, "mixed")
    csv["study"] = _studies(csv.index, csv[[*PARTS, "mixed"]].fillna(0).astype(str).agg("-".join, axis=1))
    csv["body_part"] = np.where(csv["mixed"] > 0, "mixed", parts)
    csv["view"] = tables.one_hot_names(csv, VIEWS, "mixed")
    csv = csv[["body_part", "view", "hardware", "multiscan", "fractured", "study"]]
    rows = []
    for folder, label in CLASSES.items():
        for path in images[folder]:
            if path.name not in csv.index:
                raise DataError(f"{path.name} is in images/{folder} but not in {listing}")
            facts = csv.loc[path.name].to_dict()
            conflict = ""
            if facts["fractured"] != label:
                conflict = f"folder {folder}, csv fractured={facts['fractured']:.0f}"
            rows.append(
                {
                    "filename": path.relative_to(root).as_posix(),
                    "label": label,
                    "body_part": facts["body_part"],
                    "view": facts["view"],
                    "hardware": bool(facts["hardware"]),
                    "multiscan": bool(facts["multiscan"]),
                    "study": facts["study"],
                    "finding": "fracture" if label else "none",
                    "boxes": boxes(path.stem) if label else np.zeros((0, 4), np.float32),
                    "conflict": conflict,
                }
            )
    table = pd.DataFrame(rows)
    tables.say_boxless(table, f"{told_by} in {root / 'Annotations'}")
    return tables.complete(table)


def _studies(names, parts):
    """Files that are numbered one after another and show the same parts, under the name of the first.

    More than one patient may be among them, which costs nothing; whoever has X-rays of several regions is divided.

    Args:
        names: Of the files, such as IMG0000012.jpg; one without a number is a study by itself.
        parts: What each shows.
    """
    frame = pd.DataFrame({"name": names, "parts": np.asarray(parts)})
    frame["number"] = frame["name"].str.extract(r"(\d+)\.\w+$", expand=False).astype(float)
    frame = frame.sort_values(["number", "name"])
    goes_on = (frame["number"].diff() == 1) & (frame["parts"] == frame["parts"].shift())
    first = frame["name"].where(~goes_on).ffill()
    return first.sort_index().to_numpy()
