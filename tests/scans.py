"""Scans for tests, made of nothing."""

from __future__ import annotations

from itertools import permutations, product

import imagecodecs
import nibabel
import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian, JPEG2000Lossless

SIZES = (0.75, 1.25, 3.0)
UID = "1.2.826.0.1.3680043.8.498."


def turned(permutation, signs, sizes=SIZES, tilt=0.0):
    """Return the affine of a file whose axis i runs along `permutation[i]`, and is turned about z by `tilt` degrees."""
    affine = np.eye(4)
    for column, (axis, sign, size) in enumerate(zip(permutation, signs, sizes, strict=True)):
        affine[:3, column] = 0
        affine[axis, column] = sign * size
    angle = np.radians(tilt)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine[:3, :3] = turn @ affine[:3, :3]
    affine[:3, 3] = (-11.5, 20.25, 7.0)
    return affine


ORIENTATIONS = [turned(p, s) for p in permutations(range(3)) for s in product((1, -1), repeat=3)]


def voxels(rng, shape=(4, 5, 6), dtype=np.int16):
    return rng.integers(-1000, 1000, shape).astype(dtype)


def nifti(path, values, affine, kind=nibabel.Nifti1Image, sform=1, qform=1, unit="mm", **fields):
    """Save a NIfTI file; `fields` of its header are written as they are, whatever they mean."""
    image = kind(values, affine)
    image.header.set_data_dtype(values.dtype)
    image.set_sform(affine, code=sform)
    image.set_qform(affine, code=qform, strip_shears=True)
    image.header.set_xyzt_units(unit)
    for name, value in fields.items():
        image.header[name] = value
    content = b"" if fields.keys() & {"scl_slope", "pixdim", "srow_x", "dim"} else None
    if content is None:
        nibabel.save(image, path)
    else:
        raw(path, image.header, values)
    return path


def labelled(image, labels, n_classes=2, shape=(4, 5, 6), frames=None, seed=0):
    """Save a scan and labels 0 ... `n_classes` on its grid; of several `frames`, a file of four axes."""
    rng = np.random.default_rng(seed)
    affine = turned((0, 1, 2), (-1, -1, 1))
    for path, values in (
        (image, voxels(rng, shape if frames is None else (*shape, frames))),
        (labels, rng.integers(0, n_classes + 1, shape).astype(np.uint8)),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        nifti(path, values, affine)
    return image, labels


def raw(path, header, values):
    """Write header and voxels, neither of them looked at."""
    header["vox_offset"] = 352
    header["magic"] = b"n+1"
    content = header.binaryblock + bytes(4) + values.tobytes("F")
    if path.name.endswith(".gz"):
        import gzip

        content = gzip.compress(content, mtime=0)
    path.write_bytes(content)


def dataset(values, i, *, series="1", position=None, along=(1, 0, 0, 0, 1, 0), gap=2.5, name="chest", kind="AXIAL"):
    """Return slice `i`, with `values` (row, column) as stored, of a CT series; the first lies at z = -50 mm."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = f"{UID}{series}.{i + 1}"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    one = FileDataset(None, {}, file_meta=meta, preamble=bytes(128))
    one.SOPClassUID, one.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    one.Modality, one.ImageType = "CT", ["ORIGINAL", "PRIMARY", kind]
    one.StudyInstanceUID, one.SeriesInstanceUID, one.FrameOfReferenceUID = f"{UID}0", f"{UID}{series}", f"{UID}9"
    one.PatientID, one.PatientName, one.PatientBirthDate, one.PatientSex = "1", "Made^Up", "", ""
    one.StudyID, one.StudyDate, one.StudyTime, one.AccessionNumber, one.ReferringPhysicianName = "1", "", "", "", ""
    one.SeriesDescription, one.SeriesNumber, one.InstanceNumber = name, 1, 99 - i
    along = np.array(along, float)
    normal = np.cross(along[:3], along[3:])
    place = np.array([-10.0, -20.0, -50.0]) + i * gap * normal if position is None else position
    one.ImagePositionPatient = [f"{value:.6f}"[:16] for value in place]
    one.ImageOrientationPatient = [f"{value:.10f}"[:16] for value in along]
    one.PixelSpacing = [0.75, 0.5]  # between rows, between columns
    one.RescaleSlope, one.RescaleIntercept = 1, -1024
    filled(one, values)
    return one


def filled(one, values):
    """Put pixels into a dataset, 12 bits in 16."""
    one.Rows, one.Columns = values.shape[-2:]
    one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
    one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 12, 11, 0
    one.PixelData = np.ascontiguousarray(values, "<u2").tobytes()


def series(folder, values, names=None, **options):
    """Save `values` (slice, row, column), as stored, as a series, and return its folder."""
    folder.mkdir(exist_ok=True)
    for i, plane in enumerate(values):
        dataset(plane, i, **options).save_as(folder / (names[i] if names else f"{i:03}.dcm"))
    return folder


def compressed(one, values):
    """Compress the pixels of a dataset as JPEG 2000, without loss."""
    code = imagecodecs.jpeg2k_encode(values, level=0, codecformat="j2k", reversible=True, bitspersample=12)
    encoded(one, code, JPEG2000Lossless)


def encoded(one, code, syntax):
    """Put compressed pixels into a dataset, and return it."""
    one.PixelData = encapsulate([code])
    one["PixelData"].is_undefined_length = True
    one.file_meta.TransferSyntaxUID = syntax
    return one


def enhanced(values, order=None, gap=2.5):
    """Return a multi-frame CT of `values` (slice, row, column), its frames in another `order` than the slices."""
    order = range(len(values)) if order is None else order
    one = dataset(values[0], 0)
    one.SOPClassUID = one.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope"):
        delattr(one, keyword)
    del one.RescaleIntercept
    filled(one, values[list(order)])
    one.NumberOfFrames = len(values)
    shared = item(
        PlaneOrientationSequence=[item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
        PixelMeasuresSequence=[item(PixelSpacing=[0.75, 0.5], SliceThickness=gap)],
        PixelValueTransformationSequence=[item(RescaleSlope=1, RescaleIntercept=-1024, RescaleType="HU")],
    )
    one.SharedFunctionalGroupsSequence = [shared]
    one.PerFrameFunctionalGroupsSequence = [
        item(
            PlanePositionSequence=[item(ImagePositionPatient=[-10, -20, -50 + gap * i])],
            FrameContentSequence=[item(DimensionIndexValues=[i + 1])],
        )
        for i in order
    ]
    return one


def item(**values):
    """Return an item of a sequence."""
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, pydicom.Sequence(value) if keyword.endswith("Sequence") else value)
    return made
