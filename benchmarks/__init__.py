"""Measurements: each module prints ratios against a stated reference, with hardware and commit."""
