from __future__ import annotations

import os
import shutil
import warnings
import zipfile
from pathlib import Path

import highdicom
import nibabel
import numpy as np
import pydicom
import pydicom.fileset
import pytest
from pydicom.uid import HTJ2KLossless, JPEGLSLossless, RLELossless

import scans as made
from promptless.errors import UnreadableImageError
from promptless.io.scans import dicom, grid, read
from promptless.io.scans.nifti import read_labels, write_labels
from promptless.io.scans.seg import code_of, write_seg

DATA = Path(os.environ.get("PROMPTLESS_DATA", "")) / "ct_dicom"
needs_data = pytest.mark.skipif(
    "PROMPTLESS_DATA" not in os.environ or not DATA.is_dir(), reason="PROMPTLESS_DATA has no ct_dicom"
)
AXIAL = (1, 0, 0, 0, 1, 0)
ALONG = {
    "axial": AXIAL,
    "coronal": (1, 0, 0, 0, 0, -1),
    "sagittal": (0, 1, 0, 0, 0, -1),
    "prone": (-1, 0, 0, 0, -1, 0),
    "oblique": (np.cos(0.3), np.sin(0.3), 0, -np.sin(0.3), np.cos(0.3), 0),
}


@pytest.fixture
def stored(rng):
    """Values as stored, (slice, row, column)."""
    return rng.integers(0, 4096, (5, 6, 7)).astype(np.uint16)


def refusal(path, **options):
    with pytest.raises(UnreadableImageError) as caught:
        read(path, **options)
    assert str(caught.value).startswith(f"{path} ")
    assert str(caught.value).count(str(path)) == 1
    return str(caught.value)


def in_place(image, found, values):
    """Whether each value (slice, row, column) is where the series says that it lies."""
    for place in ((0, 0, 0), (1, 2, 3), (4, 5, 6), (2, 0, 6)):
        one = found.slices[place[0]]
        here = one.position + one.along[0] * 0.5 * place[2] + one.along[1] * 0.75 * place[1]  # left, back, head
        there = np.linalg.solve(image.affine, [-here[0], -here[1], here[2], 1])[:3]
        assert np.allclose(there, there.round(), atol=1e-3)
        assert image.data[0][tuple(there.round().astype(int))] == int(values[place]) - 1024
    return True


def test_a_series_is_in_hounsfield_units_and_millimetres(stored, tmp_path):
    image = read(made.series(tmp_path / "s", stored))
    assert (image.data.dtype, image.unit) == (np.int16, "mm")
    assert np.allclose(image.spacing, (2.5, 0.75, 0.5))
    assert np.array_equal(image.data[0], stored[:, ::-1, ::-1].astype(int) - 1024)  # DICOM counts to the left and back


@pytest.mark.parametrize("along", ALONG.values(), ids=ALONG)
@pytest.mark.parametrize("gap", [2.5, 0.4])
def test_every_orientation_lies_where_its_positions_say(along, gap, stored, tmp_path):
    folder = made.series(tmp_path / "s", stored, along=along, gap=gap)
    image = read(folder)
    with dicom.opened(folder) as found:
        assert in_place(image, found, stored)
    assert (np.diag(image.affine[:3, :3][::-1]) > 0).all()


@pytest.mark.parametrize("along", ALONG.values(), ids=ALONG)
def test_labels_of_a_series_go_round_by_nifti(along, stored, rng, tmp_path):
    image = read(made.series(tmp_path / "s", stored, along=along))
    labels = rng.integers(0, 300, image.shape)
    write_labels(labels, image, tmp_path / "l.nii.gz", {1: "liver"})
    assert np.array_equal(read_labels(tmp_path / "l.nii.gz", image), labels)
    assert nibabel.load(tmp_path / "l.nii.gz").shape == (7, 6, 5)


def test_neither_names_nor_instance_numbers_decide_the_order(stored, tmp_path):
    expected = read(made.series(tmp_path / "a", stored)).data
    names = ["c.dcm", "a", "1.2.3", "z.IMA", "b.dcm"]
    assert np.array_equal(read(made.series(tmp_path / "b", stored, names)).data, expected)


def test_a_zip_and_folders_in_folders_are_the_same_series(stored, tmp_path):
    folder = made.series(tmp_path / "s", stored)
    expected = read(folder).data
    with zipfile.ZipFile(tmp_path / "s.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("readme.txt", "no")
        archive.writestr("__MACOSX/._000.dcm", "no")
        for path in folder.iterdir():
            archive.write(path, f"study/{path.name}")
    assert np.array_equal(read(tmp_path / "s.zip").data, expected)
    (folder / "b").mkdir()
    (folder / "003.dcm").rename(folder / "b" / "003.dcm")
    for other in ("notes.txt", "DICOMDIR", ".DS_Store", "labels.nii.gz"):
        (folder / other).write_bytes(b"other")
    assert np.array_equal(read(folder).data, expected)


def test_damaged_archives_are_refused(stored, tmp_path, monkeypatch):
    folder = made.series(tmp_path / "s", stored)
    with zipfile.ZipFile(tmp_path / "s.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in folder.iterdir():
            archive.write(path, path.name)
    whole = (tmp_path / "s.zip").read_bytes()
    for at in (300, 500):
        (tmp_path / "s.zip").write_bytes(whole[:at] + bytes(40) + whole[at + 40 :])
        assert "which cannot be read" in refusal(tmp_path / "s.zip")
    (tmp_path / "s.zip").write_bytes(whole[: len(whole) // 2])
    assert "is not a ZIP archive, or is cut short" in refusal(tmp_path / "s.zip")
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.dcm", (folder / "000.dcm").read_bytes() + bytes(2 * 2**20))
    monkeypatch.setenv("PROMPTLESS_MAX_MEMORY", "0.001")
    assert "unpacked it takes 0.0 GB, and 0.0 may be" in refusal(tmp_path / "bomb.zip")


@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4), (3, 0, 4, 1, 2)])
def test_a_file_of_many_frames_is_a_series(order, stored, tmp_path):
    expected = read(made.series(tmp_path / "s", stored))
    made.enhanced(stored, order).save_as(tmp_path / "many")
    image = read(tmp_path / "many")
    assert np.array_equal(image.data, expected.data)
    assert np.allclose(image.affine, expected.affine)


def test_slopes_may_differ_between_slices(stored, tmp_path):
    folder = made.series(tmp_path / "s", stored)
    for i in range(5):
        one = pydicom.dcmread(folder / f"{i:03}.dcm")
        one.RescaleSlope, one.RescaleIntercept = 0.5 + i, 0
        one.save_as(folder / f"{i:03}.dcm")
    image = read(folder)
    assert image.data.dtype == np.float32
    assert np.allclose(image.data[0][:, ::-1, ::-1], stored * (0.5 + np.arange(5))[:, None, None])


def test_large_values_keep_their_whole_numbers(stored, tmp_path):
    stored[2, 3, 4] = 65_535
    folder = made.series(tmp_path / "s", stored)
    for path in folder.iterdir():
        one = pydicom.dcmread(path)
        one.BitsStored, one.HighBit, one.RescaleSlope = 16, 15, 3
        one.save_as(path)
    image = read(folder)
    assert image.data.dtype == np.int32
    assert np.array_equal(image.data[0][:, ::-1, ::-1], stored.astype(int) * 3 - 1024)


def test_compressed_slices_are_what_they_were(stored, tmp_path):
    expected = read(made.series(tmp_path / "s", stored)).data
    for kind in ("jpeg2000", "jpegls", "rle"):
        folder = tmp_path / kind
        folder.mkdir()
        for i, plane in enumerate(stored):
            one = made.dataset(plane, i)
            if kind == "jpeg2000":
                made.compressed(one, plane)
            else:
                one.compress({"jpegls": JPEGLSLossless, "rle": RLELossless}[kind], generate_instance_uid=False)
            one.save_as(folder / f"{i}.dcm")
        assert np.array_equal(read(folder).data, expected), kind


def test_a_transfer_syntax_without_its_codec_is_named_with_the_package(stored, tmp_path):
    folder = made.series(tmp_path / "s", stored)
    one = made.encoded(made.dataset(stored[2], 2), b"\xff\x4f\xff\xd9", HTJ2KLossless)
    one.save_as(folder / "002.dcm")
    if pydicom.pixels.get_decoder(HTJ2KLossless).is_available:
        pytest.skip("a decoder of high-throughput JPEG 2000 is installed")
    message = refusal(folder)
    assert "002.dcm, compressed as High-Throughput JPEG 2000" in message
    assert HTJ2KLossless in message
    assert "pip install pylibjpeg pylibjpeg-openjpeg, or save it uncompressed" in message
    one.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.100"  # MPEG2
    one.save_as(folder / "002.dcm")
    assert "which pydicom does not decode" in refusal(folder)


def test_a_tilted_gantry_is_refused_with_its_angle(stored, tmp_path):
    folder = tmp_path / "s"
    folder.mkdir()
    for i, plane in enumerate(stored):
        tilted = (0.0, np.tan(np.radians(12.5)) * 2.5 * i, 2.5 * i)
        made.dataset(plane, i, position=tilted).save_as(folder / f"{i}.dcm")
    assert "tilted gantry: its slices shift sideways, 12.50 degrees" in refusal(folder)


def test_missing_and_doubled_slices_are_refused_with_their_places(rng, tmp_path):
    folder = made.series(tmp_path / "s", rng.integers(0, 4096, (9, 6, 7)).astype(np.uint16))
    (folder / "003.dcm").unlink()
    (folder / "006.dcm").unlink()
    assert "lacks about 2 slices: between -45.00 and -40.00 mm, -37.50 and -32.50 mm" in refusal(folder)
    folder = made.series(tmp_path / "t", rng.integers(0, 4096, (9, 6, 7)).astype(np.uint16))
    shutil.copy(folder / "003.dcm", folder / "copy.dcm")
    assert "1 slices that lie where another does: 003.dcm and copy.dcm at -42.50 mm" in refusal(folder)
    for i in range(9):
        shutil.copy(folder / f"{i:03}.dcm", folder / f"later{i}.dcm")
    assert "and 5 more; keep one of each" in refusal(folder)


def test_uneven_gaps_and_slices_beside_the_others_are_refused(stored, tmp_path):
    folder = made.series(tmp_path / "s", stored)
    made.dataset(stored[2], 2, position=(-10, -20, -44.6)).save_as(folder / "002.dcm")
    assert "unevenly spaced: 2.900 mm between -47.50 and -44.60 mm" in refusal(folder)
    made.dataset(stored[2], 2, position=(-9, -20, -45)).save_as(folder / "002.dcm")
    assert "002.dcm at (-9, -20, -45) mm, beside the line of the others" in refusal(folder)


def test_positions_written_with_few_digits_are_even_enough(stored, tmp_path):
    folder = tmp_path / "s"
    folder.mkdir()
    for i, plane in enumerate(stored):
        made.dataset(plane, i, position=(-10, -20, round(i * 1.234567, 2))).save_as(folder / f"{i}.dcm")
    assert read(folder).spacing[0] == pytest.approx(1.2345, abs=0.003)


def test_of_several_series_one_is_chosen_by_name_or_uid(stored, tmp_path):
    folder = made.series(tmp_path / "s", stored)
    made.series(tmp_path / "s", stored[:3] // 2, ["a", "b", "c"], series="2", name="head")
    message = refusal(folder)
    assert f"holds 2 series.*chest (5 files, {made.UID}1); head (3 files, {made.UID}2)".split(".*")[1] in message
    for chosen in ("head", f"{made.UID}2"):
        assert read(folder, series=chosen).shape == (3, 6, 7)
    assert "has no series called neck; choose" in refusal(folder, series="neck")
    made.series(tmp_path / "s", stored[:2], ["d", "e"], series="3", name="head")
    assert "has 2 series called head" in refusal(folder, series="head")


def test_localisers_and_what_is_no_image_are_passed_over(stored, tmp_path):
    folder = made.series(tmp_path / "s", stored)
    made.dataset(stored[0, :4], 8, kind="LOCALIZER", series="2").save_as(folder / "scout.dcm")
    made.dataset(stored[0, :4], 9, kind="LOCALIZER").save_as(folder / "scout2.dcm")
    other = made.dataset(stored[0], 7, series="3")
    other.Modality = "RTDOSE"
    other.save_as(folder / "dose.dcm")
    image = read(folder)
    assert image.shape == (5, 6, 7)
    assert image.origin.notes == ("2 localisers were passed over",)
    for i in range(5):
        (folder / f"{i:03}.dcm").unlink()
    assert "holds no DICOM series of images (2 localisers were passed over)" in refusal(folder)


def test_a_file_set_is_read_without_its_directory_and_what_holds_no_image(stored, tmp_path):
    folder = made.series(tmp_path / "s", stored)
    files = pydicom.fileset.FileSet()
    for path in sorted(folder.iterdir()):
        change(path, StudyDate="20260101", StudyTime="120000")
        files.add(path)
    files.write(tmp_path / "set")
    assert (tmp_path / "set" / "DICOMDIR").read_bytes()[128:132] == b"DICM"
    assert np.array_equal(read(tmp_path / "set").data, read(folder).data)
    for i, kind in enumerate(("1.2.840.10008.5.1.4.1.1.66", "1.3.12.2.1107.5.9.1")):  # raw data, Siemens' CSA
        other = made.dataset(stored[0], 7)
        other.SOPClassUID = other.file_meta.MediaStorageSOPClassUID = kind
        del other.Rows, other.PixelData
        other.save_as(folder / f"other{i}.dcm")
    image = read(folder)
    assert image.shape == (5, 6, 7)
    assert image.origin.notes == ("2 objects that are no images were passed over",)


@pytest.mark.parametrize("name", ["002.dcm", "CT.1.2.840.113", "IM0002"])
def test_one_unreadable_file_among_good_ones_is_named(name, stored, tmp_path):
    folder = made.series(tmp_path / "s", stored)
    whole = (folder / "002.dcm").read_bytes()
    (folder / "002.dcm").unlink()
    for content in (b"", b"no" * 300, whole[:100], whole[:150], whole[: len(whole) - 40], bytes(len(whole))):
        (folder / name).write_bytes(content)
        assert f"has {name}, which cannot be read" in refusal(folder)


def change(path, **values):
    one = pydicom.dcmread(path)
    for keyword, value in values.items():
        if value is None:
            delattr(one, keyword)
        else:
            setattr(one, keyword, value)
    one.save_as(path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"ImagePositionPatient": None}, "002.dcm with no ImagePositionPatient, which tells where it lies"),
        ({"ImageOrientationPatient": [1, 0, 0, 0.5, 1, 0]}, "no two directions at right angles"),
        ({"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}, "an orientation of (1, 0, 0, 0, 1, 0), 002.dcm (0, 1, 0"),
        ({"PixelSpacing": [0.75, 0]}, "002.dcm with a PixelSpacing of 0.75, 0; both must be above 0"),
        ({"PixelSpacing": [0.75, 0.6]}, "a pixel size of (0.75, 0.5), 002.dcm (0.75, 0.6)"),
        ({"Rows": 3}, "rows and columns (6, 7), 002.dcm (3, 7)"),
        ({"RescaleSlope": 0}, "a RescaleSlope of 0"),
        ({"SamplesPerPixel": 3}, "whose pixels are colours"),
    ],
)
def test_what_makes_no_volume_is_refused(values, message, stored, tmp_path):
    folder = made.series(tmp_path / "s", stored)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        change(folder / "002.dcm", **values)
        assert message in refusal(folder)


@pytest.mark.filterwarnings("ignore")
def test_values_that_their_type_cannot_hold_are_refused(stored, tmp_path):
    folder = made.series(tmp_path / "s", stored)
    one = made.dataset(stored[2], 2)
    made.compressed(one, stored[2])
    one.BitsStored, one.HighBit = 8, 7
    one.save_as(folder / "002.dcm")
    assert "002.dcm with values that its BitsStored cannot hold" in refusal(folder)


def test_one_slice_and_what_is_no_scan_are_refused(stored, tmp_path):
    folder = made.series(tmp_path / "s", stored)
    assert "holds one slice of a series; name the folder" in refusal(folder / "000.dcm")
    (tmp_path / "empty").mkdir()
    assert "holds no DICOM series of images; name" in refusal(tmp_path / "empty")
    assert "does not exist" in refusal(tmp_path / "none")
    (tmp_path / "a.zip").write_bytes(b"PK no")
    assert "is not a ZIP archive" in refusal(tmp_path / "a.zip")
    (tmp_path / "a.tif").write_bytes(b"no")
    assert "is no scan: .nii, .nii.gz, a DICOM folder" in refusal(tmp_path / "a.tif")


def test_a_series_that_takes_too_much_memory_is_refused_before_it_is_decoded(stored, tmp_path, monkeypatch):
    folder = made.series(tmp_path / "s", stored)
    monkeypatch.setenv("PROMPTLESS_MAX_MEMORY", "0.4")
    assert "5 x 6 x 7 pixels of int16" in refusal(folder)


def seg_of(path, series, n):
    """Return the segments (n, z, y, x) in a DICOM SEG, by pydicom alone: frames by the slices that they refer to."""
    found = pydicom.dcmread(path)
    pixels = found.pixel_array.reshape(-1, *series.shape[1::-1])
    heights = [one.height for one in series.slices]
    masks = np.zeros((n, *reversed(series.shape)), bool)
    for frame, groups in zip(pixels, found.PerFrameFunctionalGroupsSequence, strict=True):
        place = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float) @ series.slices[0].normal
        told = groups if "SegmentIdentificationSequence" in groups else found.SharedFunctionalGroupsSequence[0]
        number = told.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        masks[number - 1, int(np.abs(np.array(heights) - place).argmin())] = frame
    return found, np.stack([grid.to_array_order(mask.T, series.affine)[0] for mask in masks])


@pytest.mark.parametrize("along", ALONG.values(), ids=ALONG)
def test_segments_are_the_labels_voxel_by_voxel(along, stored, rng, tmp_path):
    folder = made.series(tmp_path / "s", stored, along=along)
    labels = rng.choice([0, 0, 3, 7, 200], read(folder).shape)
    names = {3: "liver", 7: "something new", 200: "kidney_left", 201: "spleen"}
    with dicom.opened(folder) as series:
        write_seg(labels, series, names, tmp_path / "seg.dcm")
        found, masks = seg_of(tmp_path / "seg.dcm", series, 4)
    for mask, value in zip(masks, names, strict=True):
        assert np.array_equal(mask, labels == value)
    segments = found.SegmentSequence
    assert [s.SegmentLabel for s in segments] == list(names.values())
    codes = [s.SegmentedPropertyTypeCodeSequence[0].CodeMeaning for s in segments]
    assert codes == ["Liver", "Tissue", "Kidney", "Spleen"]
    referenced = {r.ReferencedSOPInstanceUID for r in found.ReferencedSeriesSequence[0].ReferencedInstanceSequence}
    assert referenced == {pydicom.dcmread(p).SOPInstanceUID for p in folder.iterdir()}
    assert {p.name for p in tmp_path.iterdir()} == {"s", "seg.dcm"}


def test_segments_of_a_file_of_many_frames(stored, rng, tmp_path):
    made.enhanced(stored, (3, 0, 4, 1, 2)).save_as(tmp_path / "many.dcm")
    labels = rng.integers(0, 3, read(tmp_path / "many.dcm").shape)
    with dicom.opened(tmp_path / "many.dcm") as series:
        write_seg(labels, series, {1: "liver", 2: "spleen"}, tmp_path / "seg.dcm")
        _, masks = seg_of(tmp_path / "seg.dcm", series, 2)
    assert np.array_equal(masks, [labels == 1, labels == 2])


def test_labels_without_names_are_refused(stored, tmp_path):
    folder = made.series(tmp_path / "s", stored)
    with dicom.opened(folder) as series:
        with pytest.raises(ValueError, match=r"labels \[2\] have no names"):
            write_seg(np.full((5, 6, 7), 2), series, {1: "liver"}, tmp_path / "seg.dcm")
        with pytest.raises(ValueError, match="needs one at least"):
            write_seg(np.zeros((5, 6, 7), int), series, {}, tmp_path / "seg.dcm")
        with pytest.raises(ValueError, match="must agree"):
            write_seg(np.ones((5, 6, 6), int), series, {1: "liver"}, tmp_path / "seg.dcm")
    assert not (tmp_path / "seg.dcm").exists()


def test_no_label_at_all_is_a_segment_without_voxels(stored, tmp_path, caplog):
    folder = made.series(tmp_path / "s", stored)
    with dicom.opened(folder) as series:
        write_seg(np.zeros((5, 6, 7), int), series, {1: "liver"}, tmp_path / "seg.dcm")
        _, masks = seg_of(tmp_path / "seg.dcm", series, 1)
    assert not masks.any()
    assert not caplog.records  # nothing that a user would read


def test_a_series_that_cannot_be_referred_to_is_refused(stored, tmp_path):
    folder = made.series(tmp_path / "s", stored)
    for path in folder.iterdir():
        change(path, StudyInstanceUID=None)
    with (
        dicom.opened(folder) as series,
        pytest.raises(ValueError, match=r"lacks what a DICOM SEG refers to.*StudyInst"),
    ):
        write_seg(np.ones((5, 6, 7), int), series, {1: "liver"}, tmp_path / "seg.dcm")


@pytest.mark.parametrize("name", ["Left", "left right", "", "zzz", "123"])
def test_what_is_no_name_of_an_organ_has_no_code(name):
    assert code_of(name) is None


@needs_data
def test_the_real_series_lies_where_its_labels_do(tmp_path):
    image, labels = read(DATA / "series"), read(DATA / "labels.nii.gz")
    assert image.shape == labels.shape
    assert np.allclose(image.affine, labels.affine, atol=1e-4)
    assert np.allclose(image.spacing, labels.spacing)
    values = read_labels(DATA / "labels.nii.gz", image)
    hounsfield = image.data[0]
    assert 40 < hounsfield[values == 1].mean() < 120  # spleen, with contrast
    assert hounsfield[values == 0].mean() < -500
    write_labels(values, image, tmp_path / "l.nii.gz")
    assert np.array_equal(read_labels(tmp_path / "l.nii.gz", labels), values)
    write_labels(values, labels, tmp_path / "m.nii.gz")
    ours, theirs = nibabel.load(tmp_path / "m.nii.gz"), nibabel.load(DATA / "labels.nii.gz")
    assert np.array_equal(np.asarray(ours.dataobj), np.asarray(theirs.dataobj))
    assert np.array_equal(ours.affine, theirs.affine)


@needs_data
@pytest.mark.filterwarnings("ignore:The string")  # the name of the patient was taken away
def test_segments_of_the_real_series_are_its_labels(tmp_path):
    values = read_labels(DATA / "labels.nii.gz", read(DATA / "series"))
    names = {1: "spleen", 5: "liver", 52: "aorta"}
    kept = np.where(np.isin(values, list(names)), values, 0)
    with dicom.opened(DATA / "series") as series:
        write_seg(kept, series, names, tmp_path / "seg.dcm")
        _, masks = seg_of(tmp_path / "seg.dcm", series, 3)
    assert np.array_equal(masks, [values == value for value in names])
    volume = highdicom.seg.segread(tmp_path / "seg.dcm").get_volume(combine_segments=True)
    assert sorted(np.unique(volume.array)) == [0, 1, 2, 3]
    assert [(volume.array == i).sum() for i in (1, 2, 3)] == [(values == value).sum() for value in names]


@pytest.mark.filterwarnings("ignore")
def test_fuzzed_series_are_read_or_refused(rng, tmp_path):
    stored = rng.integers(0, 4096, (3, 6, 7)).astype(np.uint16)
    folder = made.series(tmp_path / "s", stored)
    one = made.dataset(stored[1], 1)
    made.compressed(one, stored[1])
    one.save_as(tmp_path / "packed")
    for i in range(150):
        whole = (tmp_path / "packed").read_bytes() if i % 2 else (tmp_path / "s" / "000.dcm").read_bytes()
        content = np.frombuffer(whole, np.uint8).copy()
        places = rng.integers(128, len(content), rng.integers(1, 6))
        content[places] ^= rng.integers(1, 256, len(places)).astype(np.uint8)
        if not i % 5:
            content = content[: rng.integers(0, len(content))]
        (folder / "001.dcm").write_bytes(content.tobytes())
        try:
            image = read(folder)
        except UnreadableImageError as error:
            assert str(error).startswith(f"{folder} ")  # noqa: PT017
            continue
        assert image.data.shape == (1, 3, 6, 7)
        assert np.isfinite(image.affine).all()
