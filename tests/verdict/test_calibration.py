"""The arithmetic of a confirmation, played through often enough to see whether it keeps its level."""

from __future__ import annotations

import pytest

from benchmarks.calibration import NOISE, count

REPETITIONS = 2000
"""Standard error of a coverage of 95 %: 0.5."""


@pytest.mark.parametrize("deviation", [0.5, 1.3, 2.5])
def test_two_stages_keep_their_level_whatever_the_noise(deviation):
    one = count(NOISE["normal"], deviation, 0.0, "two stages", repetitions=REPETITIONS, seed=1)
    assert 0.935 <= one.held / REPETITIONS <= 0.965
    assert one.better / REPETITIONS <= 0.036
    assert one.over_published <= one.better + one.worse  # the second comparison is made behind the first alone


def test_the_interval_holds_a_difference_that_is_there():
    one = count(NOISE["normal"], 1.3, 2.0, "two stages", repetitions=REPETITIONS, seed=2)
    assert 0.935 <= one.held / REPETITIONS <= 0.965
    assert one.better / REPETITIONS > 0.9
    assert one.half_width < 1.0


def test_a_look_after_every_seed_does_not():
    one = count(NOISE["normal"], 1.3, 0.0, "until decided", repetitions=500, seed=1)
    assert one.held / 500 < 0.87
    narrow = count(NOISE["normal"], 1.3, 0.0, "until narrow", repetitions=REPETITIONS, seed=1)
    two = count(NOISE["normal"], 1.3, 0.0, "two stages", repetitions=REPETITIONS, seed=1)
    assert narrow.held < two.held


def test_heavy_tails_cost_little():
    one = count(NOISE["heavy tails (t5)"], 1.3, 0.0, "two stages", repetitions=REPETITIONS, seed=1)
    assert one.held / REPETITIONS >= 0.935
