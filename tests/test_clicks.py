from __future__ import annotations

import json

import numpy as np
import pytest

import scans as made
from promptless.clicks import Click, Clicks, class_of, entries, onto, placed
from promptless.image import Image
from promptless.io import scans
from promptless.io.scans import nifti

NAMES = ("Liver", "left kidney")


@pytest.mark.parametrize("affine", made.ORIENTATIONS[::3], ids=lambda affine: "".join(map(str, affine[:3, :3].ravel())))
def test_a_place_is_the_same_voxel_in_whatever_way_it_is_told(affine, tmp_path, rng):
    """A file of any orientation has one bright voxel; its place in the file, in mm and in the labels are one."""
    values = np.zeros((4, 5, 6), np.int16)  # (i, j, k)
    bright = tuple(int(rng.integers(n)) for n in values.shape)
    values[bright] = 100
    image = scans.read(made.nifti(tmp_path / "scan.nii.gz", values, affine))
    there = np.argwhere(image.data[0] == 100)[0]
    clicks = [
        Click(bright[::-1], 1),
        Click(tuple(affine[:3, :3] @ bright + affine[:3, 3]), 1, "mm"),
        Click(tuple(there.tolist()), 1, "labels"),
    ]
    for click in clicks:
        points = placed([click], NAMES, scans.frames(image), image.shape)
        assert np.abs(points.coords - there).max() < 1e-5
        assert entries(points, NAMES, scans.frames(image)) == [
            {"point": list(map(float, bright[::-1])), "class": "Liver"}
        ]


def test_a_series_counts_slices_rows_and_columns(tmp_path, rng):
    values = rng.permutation(4 * 6 * 7).reshape(4, 6, 7).astype(np.uint16)
    image = scans.read(made.series(tmp_path / "series", values))
    slices_up = placed([Click((1, 2, 3), 1)], NAMES, scans.frames(image), image.shape).coords[0].astype(int)
    labels = nifti.written(image)
    assert labels.get_data_shape() == (7, 6, 4)
    assert image.data[0][tuple(slices_up)] == int(values[1, 2, 3]) - 1024


def test_an_array_is_its_own_grid():
    frames = scans.frames(Image(np.zeros((1, 4, 5, 6)), (3.0, 1.0, 1.0), "mm"))
    assert placed([Click((1, 2, 3), 0)], NAMES, frames, (4, 5, 6)).coords.tolist() == [[1, 2, 3]]
    with pytest.raises(ValueError, match=r"where the scan lies in the patient is not known; give it in voxels"):
        placed([Click((1, 2, 3), 0, "mm")], NAMES, frames, (4, 5, 6))


@pytest.mark.parametrize(
    ("label", "number"), [("Liver", 1), (" liver ", 1), ("LEFT KIDNEY", 2), ("2", 2), (0, 0), ("background", 0), (1, 1)]
)
def test_a_class_has_a_name_and_a_number(label, number):
    assert class_of(label, NAMES) == number


@pytest.mark.parametrize("label", ["livr", 3, -1, "", "1.0"])
def test_a_class_that_is_not_known_is_refused_with_those_that_are(label):
    with pytest.raises(ValueError, match=r"does not tell; .*it tells 0 background, 1 Liver, 2 left kidney") as told:
        class_of(label, NAMES)
    assert ("did you mean liver?" in str(told.value)) == (label == "livr")


@pytest.mark.parametrize("place", [(-0.6, 1, 1), (1, 4.5, 1), (1, 1, 6)])
def test_a_click_outside_of_the_scan_is_refused_with_where_that_is(place):
    frames = {"voxels": np.eye(4), "labels": np.eye(4), "mm": np.diag([2.0, 1, 1, 1])}
    with pytest.raises(ValueError, match=r"outside of the scan, which has its voxels at 0 to 3, 0 to 4, 0 to 5"):
        placed([Click(place, 1)], NAMES, frames, (4, 5, 6))
    with pytest.raises(ValueError, match=r"at 0 to 6, 0 to 4, 0 to 5 \(space: mm\)"):
        placed([Click((7.5, 1, 1), 1, "mm")], NAMES, frames, (4, 5, 6))
    assert len(placed([Click((-0.5, 4.4, 0), 1)], NAMES, frames, (4, 5, 6))) == 1


def test_a_file_says_space_and_points(tmp_path):
    text = {"space": "mm", "points": [{"point": [1, 2.5, 3], "class": "liver"}, {"point": [4, 5, 6], "class": 0}]}
    (tmp_path / "a.json").write_text(json.dumps(text))
    told = Clicks.load(tmp_path / "a.json")
    assert told == Clicks((Click((1.0, 2.5, 3.0), "liver", "mm"), Click((4.0, 5.0, 6.0), 0, "mm")), "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not valid JSON"),
        ("[]", "this is no file of points; it looks like"),
        ('{"points": [[1, 2, 3]]}', r"entry 1 of the points is \[1, 2, 3\]; write it as"),
        ('{"points": [{"point": [1, 2], "class": 1}]}', r"entry 1 .* has three numbers, z, y and x"),
        ('{"points": [{"point": [1, 2, NaN], "class": 1}]}', "three numbers"),
        ('{"points": [{"point": [1, 2, 3], "class": null}]}', "has the class None; give its name or its number"),
        ('{"points": [{"point": 3, "class": 1}]}', "entry 1 of the points is malformed"),
        ('{"points": [{"point": [1, 2, 3]}]}', "write it as"),
        ('{"points": [{"point": [1, 2, 3], "class": 1}], "space": "inches"}', "must be one of voxels, mm, labels"),
        ('{"points": [], "format": "promptless.prompts"}', 'points of scans have "format": "promptless.points"'),
    ],
)
def test_a_file_that_makes_no_sense_is_refused(text, message, tmp_path):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        Clicks.load(tmp_path / "a.json")


def test_places_go_there_and_back(rng):
    affine = np.eye(4)
    affine[:3] = rng.normal(size=(3, 4))
    places = rng.normal(size=(5, 3))
    assert np.allclose(onto(onto(places, affine), np.linalg.inv(affine)), places)


FRAMES = {"voxels": np.eye(4), "labels": np.eye(4)}


def test_of_several_clicks_at_one_voxel_the_last_one_counts():
    clicks = [Click((1, 2, 3), 1), Click((0, 0, 0), 2), Click((1.2, 1.9, 3), 0, "labels"), Click((1.2, 1.9, 3), 0)]
    points = placed(clicks, NAMES, FRAMES, (4, 5, 6))
    assert points.labels.tolist() == [2, 0]
    assert np.allclose(points.coords, [(0, 0, 0), (1.2, 1.9, 3)])


@pytest.mark.parametrize("edge", [-0.5, 3.4999, 3.49999999])
def test_a_click_at_the_very_edge_is_inside_again_when_it_is_read_back(edge):
    points = placed([Click((edge, 0, 0), 1)], NAMES, FRAMES, (4, 5, 6))
    (entry,) = entries(points, NAMES, FRAMES)
    again = placed([Click(entry["point"], entry["class"])], NAMES, FRAMES, (4, 5, 6))
    assert np.abs(again.coords - points.coords).max() < 1e-3
    assert ((again.coords >= -0.5) & (again.coords < np.array([4, 5, 6]) - 0.5)).all()


def test_a_number_is_no_name_and_an_exact_name_comes_before_one_in_another_case():
    assert class_of(1, ("2", "1")) == 1
    assert class_of("1", ("2", "1")) == 2
    assert class_of("liver", ("Liver", "liver")) == 2
    assert class_of("LIVER", ("Liver", "spleen")) == 1
    with pytest.raises(ValueError, match="which the model does not tell"):
        class_of("LIVER", ("Liver", "liver"))
    assert Click((1, 2, 3), np.int64(2)).label == 2


def test_places_that_are_no_numbers_are_refused():
    with pytest.raises(ValueError, match="three numbers"):
        Click("123", 1)
    with pytest.raises(ValueError, match="entry 1 of the points is malformed"):
        Clicks.from_json('{"points": [{"point": [1' + 400 * "0" + ', 2, 3], "class": 1}]}')
