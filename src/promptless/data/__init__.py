"""Labelled data: where it comes from, how it is normalised, augmented and turned into targets."""
