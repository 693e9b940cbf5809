"""DICOM files, written by the tests themselves."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian

#: 16-bit signed values (8, 10) from -2000 to 1950 in steps of 50.
SIXTEEN = np.arange(-40, 40, dtype=np.int16).reshape(8, 10) * 50


def encode(
    values: np.ndarray,
    photometric: str = "MONOCHROME2",
    syntax: Any = ExplicitVRLittleEndian,
    **elements: Any,
) -> bytes:
    """Write values (h, w), (n, h, w), (h, w, 3) or (n, h, w, 3) to a DICOM file's bytes, with a patient's name."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset = Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, "1.2.3"
    dataset.PatientName, dataset.PatientID = "Doe^Jane", "JD-1970"
    samples = 3 if photometric in ("RGB", "YBR_FULL") else 1
    shape = values.shape[:-1] if samples == 3 else values.shape
    dataset.Rows, dataset.Columns = shape[-2:]
    if len(shape) == 3:
        dataset.NumberOfFrames = shape[0]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = samples, photometric
    if samples == 3:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = dataset.BitsStored = 8 * values.dtype.itemsize
    dataset.PixelRepresentation = int(values.dtype.kind == "i")
    for name, value in elements.items():
        setattr(dataset, name, value)
    dataset.HighBit = dataset.BitsStored - 1
    order = "<>"[syntax == ExplicitVRBigEndian]
    dataset.PixelData = values.astype(values.dtype.newbyteorder(order)).tobytes()
    dataset["PixelData"].VR = "OB" if values.dtype.itemsize == 1 else "OW"
    file = BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def item(**elements: Any) -> Dataset:
    """Make a dataset of some elements, an item of a sequence."""
    made = Dataset()
    for name, value in elements.items():
        setattr(made, name, value)
    return made
