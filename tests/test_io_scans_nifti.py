from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import nibabel
import numpy as np
import pytest

import scans as made
from promptless.errors import UnreadableImageError
from promptless.image import Image
from promptless.io.scans import grid, read
from promptless.io.scans.nifti import GEOMETRY, copy, read_labels, read_names, write_labels

DATA = Path(os.environ.get("PROMPTLESS_DATA", ""))
REAL = sorted((DATA / "ct_multiorgan" / "images").glob("*.nii.gz")) if "PROMPTLESS_DATA" in os.environ else []
needs_data = pytest.mark.skipif(not REAL, reason="PROMPTLESS_DATA has no ct_multiorgan")


def header(path):
    return nibabel.load(path).header


def assert_same_grid(path, other):
    ours, theirs = header(path), header(other)
    assert type(ours) is type(theirs)
    assert ours.get_data_shape() == theirs.get_data_shape()[:3]
    assert np.array_equal(ours["pixdim"][:4], theirs["pixdim"][:4])
    for field in GEOMETRY:
        assert np.array_equal(ours[field], theirs[field]), field
    assert np.array_equal(nibabel.load(path).affine, nibabel.load(other).affine)


def labels_of(image, rng, n=9):
    return rng.integers(0, n, image.shape)


@pytest.mark.parametrize("affine", made.ORIENTATIONS)
def test_every_orientation_is_read_as_z_y_x_of_the_patient(affine, rng, tmp_path):
    values = made.voxels(rng)
    image = read(made.nifti(tmp_path / "a.nii.gz", values, affine))
    columns = image.affine[:3, :3]
    assert np.allclose(columns, np.diag(np.diag(columns[::-1]))[::-1])  # each axis runs along its own
    assert (np.diag(columns[::-1]) > 0).all()
    assert np.allclose(image.spacing, np.diag(columns[::-1]))
    for place in ((0, 0, 0), (1, 2, 3), (3, 4, 5)):
        there = np.linalg.solve(image.affine, affine @ [*place, 1])[:3].round().astype(int)
        assert image.data[0][tuple(there)] == values[place]


@pytest.mark.parametrize("affine", made.ORIENTATIONS)
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_labels_have_the_grid_of_their_image(affine, kind, rng, tmp_path):
    path = made.nifti(tmp_path / "a.nii.gz", made.voxels(rng), affine, kind, sform=2, qform=1)
    image = read(path)
    labels = labels_of(image, rng)
    write_labels(labels, image, tmp_path / "l.nii.gz")
    assert_same_grid(tmp_path / "l.nii.gz", path)
    assert np.array_equal(read(tmp_path / "l.nii.gz").data[0], labels)
    assert np.array_equal(read_labels(tmp_path / "l.nii.gz", image), labels)


def test_labels_of_what_an_image_shows_lie_where_it_does_in_the_file(rng, tmp_path):
    values = made.voxels(rng)
    for affine in made.ORIENTATIONS:
        image = read(made.nifti(tmp_path / "a.nii", values, affine))
        write_labels((image.data[0] > 0).astype(int), image, tmp_path / "l.nii")
        assert np.array_equal(np.asarray(nibabel.load(tmp_path / "l.nii").dataobj), values > 0)


@pytest.mark.parametrize(("sform", "qform"), [(0, 0), (0, 1), (2, 0), (4, 1)])
@pytest.mark.parametrize("tilt", [0, 17, 60])
def test_oblique_grids_and_codes_are_kept(sform, qform, tilt, rng, tmp_path):
    path = made.nifti(
        tmp_path / "a.nii.gz",
        made.voxels(rng),
        made.turned((0, 1, 2), (-1, -1, 1), tilt=tilt),
        sform=sform,
        qform=qform,
    )
    image = read(path)
    labels = labels_of(image, rng)
    write_labels(labels, image, tmp_path / "l.nii.gz")
    assert_same_grid(tmp_path / "l.nii.gz", path)
    assert np.array_equal(read(tmp_path / "l.nii.gz").data[0], labels)
    assert bool(image.origin.notes) == (sform == qform == 0)


@needs_data
@pytest.mark.parametrize("path", REAL, ids=lambda path: path.name)
def test_labels_of_real_scans_have_their_grid(path, rng, tmp_path):
    image = read(path)
    theirs = path.parent.parent / "labels" / path.name
    labels = read_labels(theirs, image)
    write_labels(labels, image, tmp_path / "l.nii.gz")
    assert_same_grid(tmp_path / "l.nii.gz", path)
    assert np.array_equal(
        np.asarray(nibabel.load(tmp_path / "l.nii.gz").dataobj), np.asarray(nibabel.load(theirs).dataobj)
    )


@pytest.mark.parametrize(("unit", "factor"), [("mm", 1), ("meter", 1000), ("micron", 0.001), ("unknown", 1)])
def test_lengths_become_millimetres_and_a_missing_unit_is_told(unit, factor, rng, tmp_path):
    path = made.nifti(tmp_path / "a.nii.gz", made.voxels(rng), np.diag([1.0, 2.0, 4.0, 1.0]), unit=unit)
    image = read(path)
    assert np.allclose(image.spacing, np.array([4, 2, 1]) * factor)
    assert np.allclose(image.affine[:3, :3], np.diag([4, 2, 1])[::-1] * factor)
    assert [note for note in image.origin.notes if "mm is assumed" in note] == list(image.origin.notes)
    assert bool(image.origin.notes) == (unit == "unknown")
    write_labels(labels_of(image, rng), image, tmp_path / "l.nii.gz")
    assert_same_grid(tmp_path / "l.nii.gz", path)


def test_scaled_integers_are_what_they_mean(rng, tmp_path):
    values = made.voxels(rng)
    path = made.nifti(tmp_path / "a.nii.gz", values, np.eye(4), scl_slope=0.5, scl_inter=-7.25)
    assert np.array_equal(read(path).data[0], (values * 0.5 - 7.25).T.astype(np.float32))
    assert read(made.nifti(tmp_path / "b.nii", values, np.eye(4), scl_slope=1, scl_inter=0)).data.dtype == np.int16


@pytest.mark.parametrize("order", ["<", ">"])
def test_either_byte_order_and_any_suffix_are_read(order, rng, tmp_path):
    values = made.voxels(rng)
    head = nibabel.Nifti1Image(values, np.eye(4)).header.as_byteswapped(order)
    made.raw(tmp_path / "a.nii.gz", head, values.astype(values.dtype.newbyteorder(order)))
    (tmp_path / "a.nii").write_bytes((tmp_path / "a.nii.gz").read_bytes())  # compressed, whatever it is called
    for name in ("a.nii.gz", "a.nii"):
        image = read(tmp_path / name)
        assert np.array_equal(image.data[0], values.T)
        write_labels(image.data[0] > 0, image, tmp_path / "l.nii.gz")
        assert np.array_equal(read_labels(tmp_path / "l.nii.gz", image), values.T > 0)


def test_one_frame_is_taken_and_of_several_one_is_chosen(rng, tmp_path):
    values = made.voxels(rng, (4, 5, 6, 3))
    image = read(made.nifti(tmp_path / "one.nii", values[..., :1], np.eye(4)))
    assert np.array_equal(image.data[0], values[..., 0].T)
    write_labels(labels_of(image, rng), image, tmp_path / "l.nii.gz")
    assert_same_grid(tmp_path / "l.nii.gz", tmp_path / "one.nii")
    path = made.nifti(tmp_path / "a.nii", values, np.eye(4))
    with pytest.raises(UnreadableImageError, match=r"4 x 5 x 6 x 3 voxels: 3 frames.* number, 0 to 2 \(--frame"):
        read(path)
    with pytest.raises(UnreadableImageError, match="3 frames, counted from 0, but frame 3"):
        read(path, frame=3)
    assert np.array_equal(read(path, frame=2).data[0], values[..., 2].T)


@pytest.mark.parametrize("shape", [(4, 5, 6, 3), (4, 5, 6, 1, 3), (4, 5, 6, 2, 3)])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_frame_is_copied_as_it_is_stored(rng, tmp_path, shape, suffix):
    path = tmp_path / f"a{suffix}"
    made.nifti(path, made.voxels(rng, shape), made.turned((2, 0, 1), (1, -1, 1)), scl_slope=0.25, scl_inter=-3.0)
    for frame in range(int(np.prod(shape[3:]))):
        copy(path, tmp_path / "one.nii.gz", frame)
        before, after = read(path, frame=frame), read(tmp_path / "one.nii.gz")
        assert np.array_equal(after.data, before.data)
        assert np.array_equal(after.affine, before.affine)


def test_labels_are_as_small_as_they_can_be_and_named_beside(rng, tmp_path):
    image = read(made.nifti(tmp_path / "a.nii", made.voxels(rng), np.eye(4)))
    labels = np.zeros(image.shape, np.int64)
    for largest, dtype in ((255, np.uint8), (256, np.uint16), (65535, np.uint16)):
        labels[0, 0, 0] = largest
        write_labels(labels, image, tmp_path / "l.nii.gz", {largest: "Milz/Rate"})
        assert header(tmp_path / "l.nii.gz").get_data_dtype() == dtype
        assert read_names(tmp_path / "l.nii.gz") == {0: "background", largest: "Milz/Rate"}
    assert json.loads((tmp_path / "l.json").read_text())["classes"]["0"] == "background"
    assert read_names(tmp_path / "other.nii") == {}
    for wrong in (labels + 1, labels - 1, labels / 2, labels[:-1]):
        with pytest.raises(ValueError, match=r"whole numbers from 0 to 65535|must agree"):
            write_labels(wrong, image, tmp_path / "no.nii.gz")
    with pytest.raises(ValueError, match=r"another suffix than \.nii"):
        write_labels(labels, image, tmp_path / "no.tif")
    assert {p.name for p in tmp_path.iterdir()} == {"a.nii", "l.nii.gz", "l.json"}


def test_the_same_labels_make_the_same_bytes(rng, tmp_path):
    image = read(made.nifti(tmp_path / "a.nii", made.voxels(rng), np.eye(4)))
    for name in ("a.nii.gz", "b.nii.gz"):
        write_labels(labels_of(image, np.random.default_rng(1)), image, tmp_path / name)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_images_of_no_file_get_a_grid_of_their_own(rng, tmp_path):
    image = Image(made.voxels(rng)[None], (3.0, 2.0, 1.0), "mm")
    write_labels(labels_of(image, rng), image, tmp_path / "l.nii.gz")
    assert read(tmp_path / "l.nii.gz").spacing == (3.0, 2.0, 1.0)
    affine = read(tmp_path / "l.nii.gz").affine
    write_labels(labels_of(image, rng), Image(image.data, image.spacing, "mm", affine), tmp_path / "m.nii.gz")
    assert_same_grid(tmp_path / "m.nii.gz", tmp_path / "l.nii.gz")


def pixdim(*sizes):
    return {"pixdim": [1, *sizes, 0, 0, 0, 0]}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (pixdim(0, 1, 1), r"size \(0, 1, 1\), and each must be above 0; correct pixdim"),
        (pixdim(1, -2, 1), r"size \(1, -2, 1\), and each must be above 0"),
        (pixdim(1, np.nan, 1), r"size \(1, nan, 1\)"),
        (pixdim(1, 1, 3), r"\(1, 1, 3\) by pixdim, and \(1, 1, 1\) by its affine"),
        ({"srow_x": [1, 0.2, 0, 0], **pixdim(1, 1.02, 1)}, "sheared affine.*axes 0 and 1 meet at 78.69 degrees"),
        ({"srow_x": [0, 0, 0, 0]}, "singular affine.*sizes"),
        ({"srow_x": [np.nan, 0, 0, 0]}, "no numbers"),
        ({"dim": [3, 4, 0, 6, 1, 1, 1, 1]}, r"lengths \(4, 0, 6\)"),
        ({"dim": [3, 20, 6, 1, 1, 1, 1, 1]}, "20 x 6 x 1 voxels, and a volume has at least 2"),
        ({"dim": [2, 20, 6, 1, 1, 1, 1, 1]}, "20 x 6 voxels, and a volume has at least 2"),
        ({"dim": [3, 30000, 30000, 30000, 1, 1, 1, 1]}, "PROMPTLESS_MAX_MEMORY"),
    ],
)
def test_what_is_no_volume_in_space_is_refused(fields, message, rng, tmp_path):
    path = made.nifti(tmp_path / "a.nii.gz", made.voxels(rng), np.eye(4), **fields)
    with pytest.raises(UnreadableImageError, match=f"a.nii.gz .*{message}"):
        read(path)


def test_a_bad_qform_is_refused(rng, tmp_path):
    values = made.voxels(rng)
    path = made.nifti(tmp_path / "a.nii", values, np.eye(4), sform=0, quatern_b=5, **pixdim(1, 1, 1))
    with pytest.raises(UnreadableImageError, match="a qform that is no rotation"):
        read(path)


def test_voxels_that_are_no_numbers_are_counted_and_placed(rng, tmp_path):
    values = made.voxels(rng, dtype=np.float32)
    values[3, 1, 2], values[0, 0, 4] = np.nan, np.inf
    with pytest.raises(UnreadableImageError, match=r"has 2 voxels that are NaN or infinite, the first at \(3, 1, 2\)"):
        read(made.nifti(tmp_path / "a.nii.gz", values, np.eye(4)))


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_file_that_is_cut_short_is_refused(suffix, rng, tmp_path):
    path = made.nifti(tmp_path / f"a{suffix}", made.voxels(rng), np.eye(4))
    content = path.read_bytes()
    for share in (0, 0.1, 0.5, 0.9, 0.999):
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(UnreadableImageError, match="damaged"):
            read(path)


def test_what_is_no_nifti_is_refused(rng, tmp_path):
    (tmp_path / "a.nii").write_bytes(b"no" * 500)
    with pytest.raises(UnreadableImageError, match="is not a NIfTI file"):
        read(tmp_path / "a.nii")
    nibabel.save(nibabel.Nifti1Pair(made.voxels(rng), np.eye(4)), tmp_path / "b.hdr")
    (tmp_path / "b.hdr").rename(tmp_path / "b.nii")
    with pytest.raises(UnreadableImageError, match="voxels in a second file"):
        read(tmp_path / "b.nii")
    colours = np.zeros((4, 5, 6), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    nibabel.save(nibabel.Nifti1Image(colours, np.eye(4)), tmp_path / "c.nii")
    with pytest.raises(UnreadableImageError, match="convert them to integers or floats"):
        read(tmp_path / "c.nii")


def test_a_checksum_that_is_wrong_is_noticed(rng, tmp_path):
    path = made.nifti(tmp_path / "a.nii.gz", made.voxels(rng), np.eye(4))
    content = bytearray(path.read_bytes())
    content[-6] ^= 1
    path.write_bytes(content)
    with pytest.raises(UnreadableImageError, match="CRC"):
        read(path)


def test_labels_on_another_grid_are_refused(rng, tmp_path):
    values = rng.integers(0, 3, (4, 5, 6)).astype(np.uint8)
    image = read(made.nifti(tmp_path / "a.nii", values, made.turned((0, 1, 2), (1, 1, 1))))
    turned = made.nifti(tmp_path / "b.nii", values[::-1], grid_of(values, (-1, 1, 1)))
    assert np.array_equal(read_labels(turned, image), values.T)  # the same grid, its first axis turned round
    moved = made.turned((0, 1, 2), (1, 1, 1))
    moved[0, 3] += 0.5
    made.nifti(tmp_path / "c.nii", values, moved)
    with pytest.raises(UnreadableImageError, match=r"corners are up to 0\.5 mm apart"):
        read_labels(tmp_path / "c.nii", image)
    with pytest.raises(UnreadableImageError, match="must share one grid"):
        read_labels(made.nifti(tmp_path / "d.nii", values[:3], np.eye(4)), image)
    with pytest.raises(UnreadableImageError, match="fractions or numbers below 0"):
        read_labels(
            made.nifti(tmp_path / "e.nii", values.astype(np.float32) / 2, made.turned((0, 1, 2), (1, 1, 1))), image
        )


def grid_of(values, signs):
    affine = made.turned((0, 1, 2), (1, 1, 1))
    affine[:3, 3] += affine[:3, 0] * (len(values) - 1)
    affine[:3, 0] *= signs[0]
    return affine


def test_turning_and_turning_back_is_the_identity(rng):
    values = made.voxels(rng)
    for affine in (*made.ORIENTATIONS, made.turned((2, 0, 1), (1, -1, 1), tilt=40)):
        turned, _ = grid.to_array_order(values, affine)
        assert np.array_equal(grid.to_file_order(turned, affine), values)


def test_fuzzed_files_are_read_or_refused(rng, tmp_path):
    whole = gzip.decompress(
        made.nifti(tmp_path / "a.nii.gz", made.voxels(rng), made.turned((1, 0, 2), (1, -1, 1))).read_bytes()
    )
    for i in range(150):
        content = np.frombuffer(whole, np.uint8).copy()
        places = rng.integers(0, 348 if i % 2 else len(content), rng.integers(1, 6))
        content[places] ^= rng.integers(1, 256, len(places)).astype(np.uint8)
        packed = np.frombuffer(gzip.compress(content.tobytes()) if i % 3 else content.tobytes(), np.uint8).copy()
        if not i % 5:
            packed[rng.integers(0, len(packed), 3)] ^= 16
        (tmp_path / "f.nii.gz").write_bytes(packed.tobytes()[: None if i % 4 else rng.integers(0, len(packed))])
        try:
            image = read(tmp_path / "f.nii.gz")
        except UnreadableImageError as error:
            assert str(error).startswith(str(tmp_path / "f.nii.gz"))  # noqa: PT017
            continue
        assert np.isfinite(image.affine).all()
        write_labels(np.zeros(image.shape, np.uint8), image, tmp_path / "l.nii.gz")
        assert read_labels(tmp_path / "l.nii.gz", image).shape == image.shape
