from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from made_up import NullSemanticModel, same_partition
from promptless.data.sample import Sample
from promptless.pipeline import coarse, segment
from promptless.runtimes.torch import TorchModel
from promptless.train.choosing import FOREGROUNDS, MIN_SCORES, at_least, choose, choose_coarse
from promptless.train.measuring import balance, image_of, segmented


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
    assert choice.score == pytest.approx(balance(config, samples, segmented(TorchModel(tiny, config), samples)))
    for foreground in FOREGROUNDS[::3]:
        other = replace(config, proposals=replace(config.proposals, foreground=foreground), min_score=0.5)
        assert choice.score >= balance(other, samples, segmented(TorchModel(tiny, other), samples))


def test_for_the_generators_own_masks_the_foreground_that_suits_them_is_chosen(tiny, tiny_config, samples):
    def own(config):
        model = TorchModel(tiny, config)
        return balance(config, samples, {sample.id: coarse(image_of(sample), model) for sample in samples})

    config, choice = choose_coarse(tiny, tiny_config, samples, lambda done, text: None)
    assert config.min_score == tiny_config.min_score
    assert choice.score == pytest.approx(own(config))
    others = [replace(config, proposals=replace(config.proposals, foreground=value)) for value in FOREGROUNDS]
    assert choice.score == max(own(other) for other in others)


def test_of_equals_the_recipes_thresholds_are_taken(tiny, tiny_config, samples):
    config = replace(tiny_config, proposals=replace(tiny_config.proposals, foreground=0.6), min_score=0.4)
    empty = [replace(sample, labels=np.zeros_like(sample.labels)) for sample in samples]  # nothing is ever right
    assert choose(tiny, config, empty, lambda done, text: None)[0] == config


class Unsure(NullSemanticModel):
    """Is less sure of one half of the image than of the other: a probability of .45 and of .99."""

    looks = 0

    def whole(self, features, coords, labels):
        type(self).looks += 1
        logits = super().whole(features, coords, labels)
        half = np.arange(logits.shape[-1]) < logits.shape[-1] // 2
        return np.where((logits > 0) & half, np.log(0.45 / 0.55), logits).astype(np.float32)


def test_where_one_mask_is_the_answer_its_threshold_is_chosen_and_each_image_looked_at_once(samples, monkeypatch):
    model, plain = Unsure(), samples[:1]
    monkeypatch.setattr("promptless.train.choosing.TorchModel", lambda network, config: model)
    config, choice = choose(None, model.config, plain, lambda done, text: None)
    assert Unsure.looks == 1
    assert (choice.foreground, config.proposals.foreground) == (0.4, 0.4)
    assert config.min_score == choice.min_score <= 0.4
    model.config = config
    assert choice.score == balance(config, plain, segmented(model, plain)) > 0.95
