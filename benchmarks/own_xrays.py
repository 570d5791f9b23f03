"""Whether own X-rays give the numbers of the embedded data set, in every layout: `python -m benchmarks own`."""

import contextlib
import io
import json
import os
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.errors import BenchmarkError
from keras_fracture import cli, data, papers
from keras_fracture.data import decoding, splits
from keras_fracture.data.datasets.phantom import layout as phantom_layout
from keras_fracture.data.pipeline import Records
from keras_fracture.inference import scoring
from keras_fracture.progress import Bar

_PAPERS = ("ibrahim_gan", "garcia_inception", "bai_dcgan", "gupta_unit")
_CLASSES = ("normal", "fracture")
_SIDES = ("xmin", "ymin", "xmax", "ymax")


def measure_own(sources=132, test_sources=100):
    """Writes about 500 phantoms in every layout, and runs the papers' smoke, `evaluate` and `predict` on each.

    A folder's numbers must be those of `phantom` with the same limbs: scores of one classifier in every layout; of
    whole runs where the files have the same names, since the order of training images follows from the names.

    Args:
        sources: Limbs to learn from, some with several images.
        test_sources: Limbs to test on, one image each.

    Returns:
        A dict of name to number: images; by layout the papers that ran, the greatest differences from `phantom`, and
        the images that `predict` answered.

    Raises:
        BenchmarkError: A command failed.
    """
    before = os.environ.get("KERAS_FRACTURE_CACHE"), phantom_layout.SOURCES
    with tempfile.TemporaryDirectory() as folder:
        try:
            os.environ["KERAS_FRACTURE_CACHE"] = f"{folder}/cache"
            phantom_layout.SOURCES = sources, test_sources
            return _compared(Path(folder))
        finally:
            os.environ.pop("KERAS_FRACTURE_CACHE")
            if before[0] is not None:
                os.environ["KERAS_FRACTURE_CACHE"] = before[0]
            phantom_layout.SOURCES = before[1]


def _compared(folder):
    images = _images()
    numbers = {"images": len(images)}
    reference = {key: _run(key, folder / "phantom" / key, "phantom", "grouped") for key in _PAPERS}
    classifier = folder / "phantom" / "garcia_inception"
    (exported,) = classifier.rglob("saved_model")
    scores = _scores(classifier, "phantom", "grouped")
    for layout, write in Bar(LAYOUTS.items(), "layouts", unit=" layouts"):
        root = folder / layout.replace(" ", "_")
        write(root, images)
        _command("data", "check", root)
        same_names = layout not in _OTHER_NAMES
        ran, differences = 0, [0.0]
        for key in _PAPERS:
            if key == "gupta_unit" and not same_names:  # no boxes
                continue
            found = _run(key, folder / "runs" / layout / key, root, "official")
            ran += 1
            if same_names and key != "gupta_unit":  # which splits by source itself
                differences.append(_difference(found, reference[key]))
        numbers[f"{layout}: papers that ran"] = ran
        if same_names:
            numbers[f"{layout}: greatest difference of a run's numbers"] = max(differences)
        asked = _scores(classifier, root, "official")
        numbers[f"{layout}: greatest difference of a score"] = _difference(asked, scores)
        numbers[f"{layout}: images that predict answered"] = _predicted(
            exported, root, folder / "answers.csv"
        )
    return numbers


def _images():
    """All records of `phantom`, with what the tables below say of them."""
    builder, images = data.prepare("phantom"), []
    for split in splits.NAMES:
        for record in Records(builder, split).raw().as_numpy_iterator():
            height, width = decoding.size_of(record["image"])
            corners = record["boxes"][:, [1, 0, 3, 2]] * [width, height, width, height]
            images.append(
                {
                    "image": record["filename"].decode(), "label": _CLASSES[record["label"]], "split": split,
                    "patient": record["source"].decode(), "body_part": record["body_part"].decode(),
                    "view": record["view"].decode(), "bytes": record["image"], "corners": corners,
                    "size": (width, height),
                }
            )  # fmt: skip
    return images


def _class_folders(root, images):
    """SPLIT/CLASS/NAME; patients are the first part of a name."""
    for image in images:
        path = root / image["split"] / image["label"] / image["image"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image["bytes"])


def _beside(root, images, columns):
    """All images in the folder, and a table of some columns."""
    root.mkdir(parents=True)
    for image in images:
        (root / image["image"]).write_bytes(image["bytes"])
    table = [{name: image[name] for name in columns} for image in images]
    pd.DataFrame(table).to_csv(root / "labels.csv", index=False)


_FACTS = ("image", "split", "patient", "body_part", "view")


def _table(root, images):
    """A row a box, a row of an image without."""
    _beside(root, images, ())
    rows = [
        {name: image[name] for name in (*_FACTS, "label")} | dict(zip(_SIDES, corners, strict=True))
        for image in images
        for corners in (image["corners"] if len(image["corners"]) else [[np.nan] * 4])
    ]
    pd.DataFrame(rows).to_csv(root / "labels.csv", index=False)


def _coco(root, images):
    _beside(root, images, _FACTS)
    listed, boxes = [], []
    for number, image in enumerate(images):
        width, height = image["size"]
        listed.append({"id": number, "file_name": image["image"], "width": width, "height": height})
        for left, top, right, bottom in image["corners"].tolist():
            boxes.append({"image_id": number, "bbox": [left, top, right - left, bottom - top]})
    (root / "annotations.json").write_text(json.dumps({"images": listed, "annotations": boxes}))


def _voc(root, images):
    _beside(root, images, _FACTS)
    for image in images:
        width, height = image["size"]
        objects = "".join(
            "<object><bndbox>"
            + "".join(f"<{side}>{edge}</{side}>" for side, edge in zip(_SIDES, corners, strict=True))
            + "</bndbox></object>"
            for corners in image["corners"].tolist()
        )
        size = f"<size><width>{width}</width><height>{height}</height></size>"
        (root / image["image"]).with_suffix(".xml").write_text(f"<annotation>{size}{objects}</annotation>")


def _yolo(root, images):
    _beside(root, images, _FACTS)
    for image in images:
        corners = image["corners"] / [*image["size"], *image["size"]]
        rows = np.hstack([(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]])
        text = "".join(f"0 {' '.join(map(str, row))}\n" for row in rows.tolist())
        (root / image["image"]).with_suffix(".txt").write_text(text)


def _dicom(root, images):
    """8-bit files; patient, body part and view are in their tags, split and label in folders."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, generate_uid

    for image in images:
        file, pixels = Dataset(), decoding.decode(image["bytes"]).image
        file.file_meta = FileMetaDataset()
        file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        file.file_meta.MediaStorageSOPClassUID = file.SOPClassUID = ComputedRadiographyImageStorage
        uid = generate_uid(entropy_srcs=[image["image"]])
        file.file_meta.MediaStorageSOPInstanceUID = file.SOPInstanceUID = uid
        file.PatientID, file.Modality = image["patient"], "CR"
        file.BodyPartExamined, file.ViewPosition = image["body_part"].upper(), image["view"].upper()
        file.Rows, file.Columns = pixels.shape
        file.SamplesPerPixel, file.PhotometricInterpretation, file.PixelRepresentation = 1, "MONOCHROME2", 0
        file.BitsAllocated, file.BitsStored, file.HighBit = 8, 8, 7
        file.PixelData = pixels.tobytes() + b"\0" * (pixels.size % 2)
        path = (root / image["split"] / image["label"] / image["image"]).with_suffix(".dcm")
        path.parent.mkdir(parents=True, exist_ok=True)
        file.save_as(path, enforce_file_format=True)


LAYOUTS = {
    "class folders": _class_folders,
    "table": _table,
    "COCO": _coco,
    "Pascal VOC": _voc,
    "YOLO": _yolo,
    "DICOM": _dicom,
}
_OTHER_NAMES = ("class folders", "DICOM")
GOALS = {
    f"{layout}: greatest difference of a {what}": "at most 1e-6"
    for layout in LAYOUTS
    for what in ("run's numbers", "score")
    if what == "score" or layout not in _OTHER_NAMES
}


def _run(key, out, path, policy):
    """The numbers of a smoke run, flat."""
    overrides = {"bai_dcgan": [f"policy={policy}"], "gupta_unit": []}.get(key, [f"policies={policy}"])
    papers.reproduce(key, "smoke", out=out, data=str(path), overrides=overrides)
    return dict(_flat(json.loads((out / "metrics.json").read_text())["runs"]))


def _flat(value, path=()):
    """Pairs of where a number stands, and the number; but for how long something took."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in items:
            if key == "minutes":
                continue
            yield from _flat(inner, (*path, key))
    elif isinstance(value, float):
        yield path, value


def _scores(run, path, policy):
    table = scoring.evaluate(run, data.load(str(path), "test", policy))
    # Values alone: which limbs a bootstrap draws follows from the order of names.
    return {name: one["value"] for name, one in scoring.scores(table, scoring.threshold(run)).items()}


def _difference(found, expected):
    if found.keys() != expected.keys():
        missing = sorted(map(str, found.keys() ^ expected.keys()))
        raise BenchmarkError(f"a folder and phantom have other numbers. Received: {', '.join(missing[:3])}")
    pairs = np.array([(found[key], expected[key]) for key in expected], float)
    both = np.isfinite(pairs).all(axis=1)
    if not np.array_equal(np.isnan(pairs[:, 0]), np.isnan(pairs[:, 1])):
        raise BenchmarkError("a folder's number is not finite where phantom's is. Received: nan")
    return float(np.abs(np.diff(pairs[both], axis=1)).max(initial=0))


def _predicted(model, root, csv):
    _command("predict", root, "--model", model, "--csv", csv)
    return len(pd.read_csv(csv))


def _command(*words):
    with contextlib.redirect_stdout(io.StringIO()) as said:
        code = cli.main([str(word) for word in words])
    if code:
        raise BenchmarkError(f"{' '.join(map(str, words[:2]))} failed. Received: {said.getvalue()[-200:]!r}")
