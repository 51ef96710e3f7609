from __future__ import annotations

import numpy as np
import pytest
from skimage.color import rgb2hed

from promptless.data.stains import D, E, H, another_day, densities, jitter, mixed, render, restain, stain


def test_rendering_and_unmixing_are_inverse(rng):
    amounts = rng.uniform(0, 0.6, (3, 6, 7)).astype(np.float32)
    picture = render(amounts, np.stack([H, E, D]))
    assert densities(picture) / densities(render(np.ones((3, 1, 1), np.float32), np.stack([H, E, D]))) == pytest.approx(
        amounts, abs=0.01
    )


def test_densities_are_those_of_scikit_image_up_to_the_logarithm(rng):
    picture = render(rng.uniform(0, 0.6, (3, 6, 7)).astype(np.float32), np.stack([H, E, D]))
    expected = rgb2hed(np.moveaxis(picture, 0, -1).astype(np.float64))
    ours = np.moveaxis(densities(picture), 0, -1)
    scale = ours.sum() / expected.sum()
    assert ours == pytest.approx(np.maximum(expected, 0) * scale, abs=0.01)


def test_no_stain_is_white_and_more_is_darker():
    colours = np.stack([H, E, D])
    assert render(np.zeros((3, 1, 1), np.float32), colours).tolist() == [[[1]]] * 3
    assert (render(np.full((3, 1, 1), 2, np.float32), colours) < render(np.ones((3, 1, 1), np.float32), colours)).all()


def test_brown_nuclei_are_redder_than_blue_ones(rng):
    nuclei = render(
        np.stack([np.ones((4, 4)), np.zeros((4, 4)), np.zeros((4, 4))]).astype(np.float32), np.stack([H, E, D])
    )
    none, all_of_it = np.zeros((4, 4), np.float32), np.ones((4, 4), np.float32)
    blue = np.mean([restain(nuclei, none, none, np.random.default_rng(i)) for i in range(20)], axis=0)
    brown = np.mean([restain(nuclei, all_of_it, none, np.random.default_rng(i)) for i in range(20)], axis=0)
    assert (brown[0] - brown[2]).mean() > (blue[0] - blue[2]).mean() + 0.1


def test_a_brown_cytoplasm_is_darker_and_redder_than_none():
    white, none, brown = np.ones((3, 4, 4), np.float32), np.zeros((4, 4), np.float32), np.full((4, 4), 0.8, np.float32)
    clear = restain(white, none, none, np.random.default_rng(0))
    stained = restain(white, none, brown, np.random.default_rng(0))
    assert (stained < clear).all()
    assert (stained[0] > stained[2]).all()


def test_fluorescence_turned_into_stain_is_dark_where_it_was_bright(rng):
    density = np.zeros((8, 8), np.float32)
    density[2:6, 2:6] = 1
    flat = np.full((8, 8), 0.2, np.float32)
    picture = stain(density, flat, np.zeros((8, 8), np.float32), rng)
    assert picture.shape == (3, 8, 8)
    assert picture[:, density > 0].mean() < picture[:, density == 0].mean() - 0.1
    assert picture.min() >= 0
    assert picture.max() <= 1


def test_colours_mix_and_stay_positive(rng):
    assert mixed(E, D, 0) == pytest.approx(E)
    assert mixed(E, D, 1) == pytest.approx(D)
    assert min(jitter(np.zeros(3, np.float32), rng).min() for _ in range(50)) >= 0.02


def test_another_day_keeps_the_hues_and_where_nuclei_lie():
    amounts = np.full((3, 8, 8), 0.05, np.float32)
    amounts[0, 2:6, 2:6], amounts[1] = 0.8, 0.3
    picture = render(amounts, np.stack([H, E, D]))
    days = [another_day(picture, np.random.default_rng(i)) for i in range(20)]
    assert np.std([day.mean() for day in days]) > 0.01
    assert np.mean(days, axis=0) == pytest.approx(picture, abs=0.12)
    assert all(day[:, 2:6, 2:6].mean() < day[:, :2].mean() - 0.05 for day in days)
