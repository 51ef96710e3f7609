from __future__ import annotations

import numpy as np
import pytest
import tifffile
from skimage.draw import polygon

from promptless.data.sources.monuseg import patient, read

CORNERS = [[(4.2, 5.1), (20.7, 6.3), (17.9, 22.4)], [(15.0, 10.0), (30.0, 10.0), (30.0, 25.0), (15.0, 25.0)]]
"""Two nuclei in x, y that overlap."""


def aperio(nuclei, head=""):
    """Return outlines as ImageScope writes them."""
    regions = "".join(
        f'<Region Id="{i}" NegativeROA="0"><Attributes/><Vertices>'
        + "".join(f'<Vertex X="{x}" Y="{y}" Z="0"/>' for x, y in corners)
        + "</Vertices></Region>"
        for i, corners in enumerate(nuclei, start=1)
    )
    return f"<Annotations {head}><Annotation><Regions>{regions}</Regions></Annotation></Annotations>"


@pytest.fixture
def folder(tmp_path):
    """An image of the training set and one of the test set."""
    places = {
        "TCGA-18-5592-01Z-00-DX1": ("Tissue Images", "Annotations"),
        "TCGA-2Z-A9J9-01A-01-TS1": ("MoNuSegTestData",) * 2,
    }
    rng = np.random.default_rng(0)
    for name, (images, outlines) in places.items():
        for place in (images, outlines):
            (tmp_path / place).mkdir(exist_ok=True)
        tifffile.imwrite(tmp_path / images / f"{name}.tif", rng.integers(0, 255, (32, 40, 3), np.uint8))
        (tmp_path / outlines / f"{name}.xml").write_text(aperio(CORNERS))
    return tmp_path


def test_outlines_become_labels_and_the_first_keeps_what_two_share(folder):
    sample = read(folder).load("TCGA-18-5592-01Z-00-DX1")
    expected = np.zeros((32, 40), np.int32)
    for number in (2, 1):
        x, y = np.array(CORNERS[number - 1]).T
        expected[polygon(y, x, (32, 40))] = number
    assert np.array_equal(sample.labels, expected)
    assert (sample.mpp, sample.category, sample.pixels.shape) == (0.25, "HE", (3, 32, 40))


def test_the_test_images_are_known_by_their_folder_and_cases_by_the_patient(folder):
    source = read(folder)
    assert source.official == {"TCGA-2Z-A9J9-01A-01-TS1": "test"}
    assert [source.case(name) for name in source.ids] == ["TCGA-18-5592", "TCGA-2Z-A9J9"]
    assert patient("other") == "other"


@pytest.mark.parametrize(("said", "mpp"), [("0.252", 0.252), ("0", 0.25), ("", 0.25)])
def test_the_pixel_size_is_read_where_it_is_said(folder, said, mpp):
    name = "TCGA-18-5592-01Z-00-DX1"
    (folder / "Annotations" / f"{name}.xml").write_text(aperio(CORNERS, f'MicronsPerPixel="{said}"'))
    assert read(folder).load(name).mpp == mpp


def test_empty_and_negative_regions_are_no_nuclei(folder):
    name = "TCGA-18-5592-01Z-00-DX1"
    text = aperio([CORNERS[0], [], CORNERS[1]])
    before, after = text.rsplit('NegativeROA="0"', 1)
    (folder / "Annotations" / f"{name}.xml").write_text(f'{before}NegativeROA="1"{after}')
    assert read(folder).load(name).n_objects == 1


def test_xml_that_is_damaged_is_named(folder):
    name = "TCGA-18-5592-01Z-00-DX1"
    (folder / "Annotations" / f"{name}.xml").write_text("<Annotations>")
    with pytest.raises(ValueError, match=r"DX1\.xml is not valid XML"):
        read(folder).load(name)


def test_an_image_without_outlines_is_named(folder):
    (folder / "Annotations" / "TCGA-18-5592-01Z-00-DX1.xml").unlink()
    assert read(folder).unpaired == ("TCGA-18-5592-01Z-00-DX1 has no masks",)
