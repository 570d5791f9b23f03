"""Phantom images written to disk in every layout that own X-rays may have."""

import io
import json

import cv2
import numpy as np
import pandas as pd

from keras_fracture.data import phantom

SIZE = 64
NAME = "DOE^JANE"  # of the patient, in DICOM files


def records(sources=24):
    return phantom.records(sources=sources, size=SIZE)[:]


def write(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image)


def pixels(box):
    """A normalised box as xmin, ymin, xmax, ymax in pixels."""
    top, left, bottom, right = (float(edge) * SIZE for edge in box)
    return left, top, right, bottom


def class_folders(root, drawn):
    for record in drawn:
        write(root / ("fractured" if record["label"] else "normal") / record["filename"], record["image"])


def dicom_folders(root, drawn, **tags):
    """Class folders of 8-bit DICOM files: .dcm, .DICOM, no ending, and a UID for a name, in turn."""
    for number, record in enumerate(drawn):
        folder = root / ("fractured" if record["label"] else "normal")
        folder.mkdir(parents=True, exist_ok=True)
        name = (f"{number:02d}.dcm", f"{number:02d}.DICOM", f"{number:02d}", f"1.2.840.{number}")[number % 4]
        said = {"PatientID": f"MRN-{record['source']}", "BodyPartExamined": record["body_part"].upper()}
        said |= {"ViewPosition": record["view"].upper()} | tags
        (folder / name).write_bytes(dicom(record["image"][..., 0], 8, **said))


def dicom(stored, bits, syntax="1.2.840.10008.1.2.1", **tags):
    """The bytes of a DICOM file, explicit little endian if nothing else is said."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import UID, generate_uid

    syntax, file = UID(syntax), Dataset()
    file.file_meta = FileMetaDataset()
    file.file_meta.TransferSyntaxUID = syntax
    file.file_meta.MediaStorageSOPClassUID = file.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    file.file_meta.MediaStorageSOPInstanceUID = file.SOPInstanceUID = generate_uid(entropy_srcs=["a"])
    file.PatientName, file.PatientID, file.Modality = NAME, "4711", "DX"
    file.Rows, file.Columns = stored.shape[:2]
    file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
    file.BitsAllocated, file.BitsStored, file.HighBit = 8 * stored.itemsize, bits, bits - 1
    file.PixelRepresentation = int(stored.dtype.kind == "i")
    for tag, value in tags.items():
        setattr(file, tag, value)
    order = "<" if syntax.is_little_endian else ">"
    file.PixelData = stored.astype(stored.dtype.newbyteorder(order)).tobytes()
    file["PixelData"].VR = "OB" if stored.itemsize == 1 else "OW"
    stream = io.BytesIO()
    file.save_as(stream, enforce_file_format=True, implicit_vr=False, little_endian=syntax.is_little_endian)
    return stream.getvalue()


def split_folders(root, drawn):
    for number, record in enumerate(drawn):
        split = ("train", "train", "val", "test")[number % 4]
        folder = root / "images" / split / ("abnormal" if record["label"] else "no finding") / "deeper"
        write(folder / record["filename"], record["image"])


def table(root, drawn, name="labels.csv", **changes):
    rows = [
        {
            "path": f"images/{record['filename']}", "dx": record["finding"], "pid": record["source"],
            "part": record["body_part"], "projection": record["view"],
        }
        for record in drawn
    ]  # fmt: skip
    for record in drawn:
        write(root / "images" / record["filename"], record["image"])
    frame = pd.DataFrame(rows).assign(**changes)
    (frame.to_excel if name.endswith("xlsx") else frame.to_csv)(root / name, index=False)
    return frame


def boxed_table(root, drawn):
    """A row a box, in pixels."""
    frame = table(root, drawn)
    rows = []
    for row, record in zip(frame.to_dict("records"), drawn, strict=True):
        sides = [
            dict(zip(("xmin", "ymin", "xmax", "ymax"), pixels(box), strict=True)) for box in record["boxes"]
        ]
        rows += [row | {"dx": str(record["label"])} | one for one in sides or [{}]]
    pd.DataFrame(rows).to_csv(root / "labels.csv", index=False)


def coco(root, drawn, letters=()):
    """Boxes of fractures, and of side letters on the images of the numbers given."""
    images, found = [], []
    for number, record in enumerate(drawn):
        write(root / "images" / record["filename"], record["image"])
        images.append({"id": number, "file_name": record["filename"], "width": SIZE, "height": SIZE})
        for box in record["boxes"]:
            left, top, right, bottom = pixels(box)
            found.append(
                {"image_id": number, "bbox": [left, top, right - left, bottom - top], "category_id": 1}
            )
    found += [{"image_id": number, "bbox": [2, 2, 9, 9], "category_id": 2} for number in letters]
    names = [{"id": 1, "name": "fracture"}, {"id": 2, "name": "text"}]
    content = {"images": images, "annotations": found} | ({"categories": names} if letters else {})
    (root / "annotations.json").write_text(json.dumps(content))


def voc(root, drawn):
    for record in drawn:
        write(root / record["filename"], record["image"])
        objects = "".join(
            "<object><bndbox>"
            + "".join(
                f"<{side}>{value}</{side}>"
                for side, value in zip(("xmin", "ymin", "xmax", "ymax"), pixels(box), strict=True)
            )
            + "</bndbox></object>"
            for box in record["boxes"]
        )
        size = f"<size><width>{SIZE}</width><height>{SIZE}</height></size>"
        path = (root / record["filename"]).with_suffix(".xml")
        path.write_text(f"<annotation>{size}{objects}</annotation>")


def yolo(root, drawn):
    """As Ultralytics has it: images/SPLIT and labels/SPLIT, no file for an image without a box."""
    for number, record in enumerate(drawn):
        split = ("train", "train", "val", "test")[number % 4]
        write(root / "images" / split / record["filename"], record["image"])
        if len(record["boxes"]):
            path = (root / "labels" / split / record["filename"]).with_suffix(".txt")
            path.parent.mkdir(parents=True, exist_ok=True)
            corners = np.array([pixels(box) for box in record["boxes"]]) / SIZE
            rows = np.hstack([(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]])
            path.write_text("".join(f"0 {' '.join(map(str, row))}\n" for row in rows.tolist()))
    (root / "classes.txt").write_text("fracture\n")
