"""pydicom's test files as DCMTK's `dcmj2pnm` and MONAI read them: the same to one grey level."""

import io
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_fracture.data import decoding

pydicom = pytest.importorskip("pydicom")

FOLDER = Path(pydicom.data.__file__).parent / "test_files"


def _to_one_level(image, expected):
    assert image.shape == expected.shape and image.std() > 5
    assert np.abs(image.astype(float) - expected).max() <= 1


@pytest.mark.skipif(not shutil.which("dcmj2pnm"), reason="needs DCMTK")
@pytest.mark.parametrize(
    "name",
    ["MR_small.dcm", "MR_small_RLE.dcm", "MR_small_bigendian.dcm", "MR_small_padded.dcm", "CT_small.dcm",
     "liver_1frame.dcm"],
)  # fmt: skip
def test_as_dcmtk(name):
    window = ["+Wi", "1"] if "WindowWidth" in pydicom.dcmread(FOLDER / name) else ["+Wm"]
    command = ["dcmj2pnm", "--write-8-bit-pnm", *window, FOLDER / name]
    written = subprocess.run(command, capture_output=True, check=True).stdout
    expected = np.asarray(Image.open(io.BytesIO(written)))
    _to_one_level(decoding.decode((FOLDER / name).read_bytes()).image, expected)


@pytest.mark.parametrize("name", ["MR_small.dcm", "CT_small.dcm", "693_J2KI.dcm"])
def test_as_monai(name):
    """MONAI rescales and shows no window: this is applied here, as the standard defines it (PS3.3 C.11.2)."""
    reader = pytest.importorskip("monai.data").PydicomReader(swap_ij=False)
    file = pydicom.dcmread(FOLDER / name)
    values = reader.get_data(reader.read(FOLDER / name))[0].astype(float)
    if "WindowWidth" in file:
        centre, width = (float(np.ravel(file[tag].value)[0]) for tag in ("WindowCenter", "WindowWidth"))
        shares = (values - (centre - 0.5)) / (width - 1) + 0.5
    else:
        shares = (values - values.min()) / np.ptp(values)
    _to_one_level(decoding.decode((FOLDER / name).read_bytes()).image, np.clip(shares, 0, 1) * 255)
