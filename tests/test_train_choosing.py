from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from made_up import same_partition
from promptless.config import SEMANTIC
from promptless.data.sample import Sample
from promptless.pipeline import coarse, segment
from promptless.runtimes.torch import TorchModel
from promptless.train.choosing import FOREGROUNDS, MIN_SCORES, at_least, choose, choose_coarse
from promptless.train.measuring import image_of, score, segmented


@pytest.fixture
def samples(blobs):
    image, labels = blobs
    noise = np.random.default_rng(0).normal(0, 40, image.shape)
    noisy = np.clip(image + noise, 0, 255).astype(np.uint8)
    return [Sample("plain", "grey", image[None], labels), Sample("noisy", "grey", noisy[None], labels)]


def test_leaving_out_afterwards_is_as_good_as_leaving_out_before(tiny, tiny_config, samples):
    model = TorchModel(tiny, tiny_config)
    everything = segment(samples[1].pixels[0], model, min_score=0.0)
    for least in (0.0, *MIN_SCORES, 1.0):
        before = segment(samples[1].pixels[0], model, min_score=least).labels
        assert same_partition(at_least(everything, least), before)


def test_what_is_chosen_scores_best_of_the_grid_and_what_is_said_of_it_is_true(tiny, tiny_config, samples):
    config, choice = choose(tiny, tiny_config, samples, lambda done, text: None)
    assert (config.proposals.foreground, config.min_score) == (choice.foreground, choice.min_score)
    assert choice.score == pytest.approx(score(config, samples, segmented(TorchModel(tiny, config), samples)))
    for foreground in FOREGROUNDS[::3]:
        other = replace(config, proposals=replace(config.proposals, foreground=foreground), min_score=0.5)
        assert choice.score >= score(other, samples, segmented(TorchModel(tiny, other), samples))


def test_for_the_generators_own_masks_the_foreground_that_suits_them_is_chosen(tiny, tiny_config, samples):
    def own(config):
        model = TorchModel(tiny, config)
        return score(config, samples, {sample.id: coarse(image_of(sample), model) for sample in samples})

    config, choice = choose_coarse(tiny, tiny_config, samples, lambda done, text: None)
    assert config.min_score == tiny_config.min_score
    assert choice.score == pytest.approx(own(config))
    others = [replace(config, proposals=replace(config.proposals, foreground=value)) for value in FOREGROUNDS]
    assert choice.score == max(own(other) for other in others)


def test_of_equals_the_recipes_thresholds_are_taken(tiny, tiny_config, samples):
    config = replace(tiny_config, proposals=replace(tiny_config.proposals, foreground=0.6), min_score=0.4)
    empty = [replace(sample, labels=np.zeros_like(sample.labels)) for sample in samples]  # nothing is ever right
    assert choose(tiny, config, empty, lambda done, text: None)[0] == config


def test_where_one_mask_is_the_answer_thresholds_stay(tiny, tiny_config, samples, monkeypatch):
    monkeypatch.setattr("promptless.train.choosing.segmented", lambda model, samples, tell: labels_of(samples))
    config, choice = choose(tiny, replace(tiny_config, output=SEMANTIC), samples, lambda done, text: None)
    assert (config.min_score, choice.score) == (tiny_config.min_score, 1.0)


def labels_of(samples):
    return {sample.id: sample.labels for sample in samples}
