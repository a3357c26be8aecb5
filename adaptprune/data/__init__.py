"""Texts and tokens: where they come from, calibration sets, training data."""
