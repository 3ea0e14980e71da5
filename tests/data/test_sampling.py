"""The batch sampler against its stated rule, by enumeration, by property and by statistics."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from dce_ray.data.sampling import BatchSampler, jitter_bounds
from dce_ray.errors import CheckpointError, DataError

CODE = (
    "import numpy as np; from dce_ray.data.sampling import BatchSampler;"
    "s = BatchSampler(np.eye(4)[[0, 0, 1, 1, 2, 2, 3]], np.arange(3, 10), segments=6, batch=8, pairs=3, seed=11);"
    "print([[part.tolist() for part in s.draw()] for _ in range(5)])"
)


def sampler(labels, lengths, *, segments=8, batch=10, pairs=3, seed=0):
    return BatchSampler(
        np.asarray(labels, dtype=np.float32),
        np.asarray(lengths),
        segments=segments,
        batch=batch,
        pairs=pairs,
        seed=seed,
    )


def slow_bounds(length, segments):
    """The rule of the released samplers, position by position and in their floating point."""
    starts = [index * length / segments for index in range(segments)]
    bounds = []
    for index, start in enumerate(starts):
        low = int(start)
        high = int(starts[index + 1]) if index < segments - 1 else length - 1
        bounds.append((low, high) if high > low else (low, low))
    return bounds


def test_bounds_by_hand():
    low, high = jitter_bounds(np.array([10, 2, 1]), 4)
    assert low.tolist() == [[0, 2, 5, 7], [0, 0, 1, 1], [0, 0, 0, 0]]
    assert high.tolist() == [[2, 5, 7, 9], [0, 1, 1, 1], [0, 0, 0, 0]]


@settings(max_examples=300, deadline=None)
@given(length=st.integers(1, 5000), segments=st.integers(1, 700))
def test_bounds_equal_the_released_rule(length, segments):
    low, high = jitter_bounds(np.array([length]), segments)
    assert list(zip(low[0].tolist(), high[0].tolist(), strict=True)) == slow_bounds(length, segments)


@st.composite
def data_sets(draw):
    classes = draw(st.integers(1, 5))
    videos = draw(st.integers(2, 12))
    row = st.lists(st.booleans(), min_size=classes, max_size=classes)
    labels = np.array(draw(st.lists(row, min_size=videos, max_size=videos)), dtype=np.float32)
    lengths = np.array(draw(st.lists(st.integers(1, 60), min_size=videos, max_size=videos)))
    return labels, lengths


@settings(max_examples=200, deadline=None)
@given(
    data=data_sets(),
    segments=st.integers(1, 40),
    pairs=st.integers(0, 4),
    rest=st.integers(0, 5),
    seed=st.integers(0, 2**31 - 1),
)
def test_every_batch_keeps_the_rules(data, segments, pairs, rest, seed):
    labels, lengths = data
    if 2 * pairs + rest == 0:
        rest = 1
    if pairs and labels.sum(axis=0).max() < 2:
        with pytest.raises(DataError, match=r"sampling\.pairs=0"):
            sampler(labels, lengths, pairs=pairs, batch=2 * pairs + rest)
        pairs = 0
        rest = max(rest, 1)
    batch = 2 * pairs + rest
    source = sampler(labels, lengths, segments=segments, batch=batch, pairs=pairs, seed=seed)
    for _ in range(3):
        videos, snippets = source.draw()
        assert videos.shape == (batch,)
        assert snippets.shape == (batch, segments)
        assert videos.dtype == snippets.dtype == np.int64
        assert ((videos >= 0) & (videos < len(lengths))).all()
        for pair in range(pairs):
            one, two = videos[2 * pair : 2 * pair + 2]
            assert one != two
            assert (labels[one] * labels[two]).any()
        for video, row in zip(videos, snippets, strict=True):
            assert (np.diff(row) >= 0).all()
            bounds = np.array(slow_bounds(int(lengths[video]), segments))
            assert ((bounds[:, 0] <= row) & (row <= bounds[:, 1])).all()


@settings(max_examples=50, deadline=None)
@given(data=data_sets(), seed=st.integers(0, 1000), before=st.integers(0, 4))
def test_restored_sampler_goes_on_bit_for_bit(data, seed, before):
    labels, lengths = data
    source = sampler(labels, lengths, pairs=0, batch=3, seed=seed)
    for _ in range(before):
        source.draw()
    state = json.loads(json.dumps(source.state()))
    ahead = [source.draw() for _ in range(3)]
    other = sampler(labels, lengths, pairs=0, batch=3, seed=seed + 1)
    other.restore(state)
    for wanted, found in zip(ahead, (other.draw() for _ in range(3)), strict=True):
        assert all((a == b).all() for a, b in zip(wanted, found, strict=True))


def test_state_is_not_changed_by_later_draws():
    source = sampler(np.eye(2)[[0, 0, 1, 1]], [9] * 4)
    state = source.state()
    kept = json.dumps(state)
    source.draw()
    assert json.dumps(state) == kept
    assert json.dumps(source.state()) != kept


@pytest.mark.parametrize("state", [{}, {"bit_generator": "MT19937"}, {"bit_generator": "PCG64", "state": 3}])
def test_foreign_state_is_refused(state):
    with pytest.raises(CheckpointError, match="state of a batch sampler"):
        sampler(np.eye(2)[[0, 0, 1, 1]], [9] * 4).restore(state)


def test_draws_do_not_depend_on_the_process():
    runs = {
        subprocess.run(
            [sys.executable, "-c", CODE], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("1", "2")
    }
    s = BatchSampler(np.eye(4)[[0, 0, 1, 1, 2, 2, 3]], np.arange(3, 10), segments=6, batch=8, pairs=3, seed=11)
    assert runs == {f"{[[part.tolist() for part in s.draw()] for _ in range(5)]}\n"}


def uniform(counts):
    """Probability of counts at least as uneven under a uniform law."""
    return stats.chisquare(counts).pvalue


def test_each_position_is_uniform_over_its_range():
    length, segments, draws = 23, 5, 20_000
    source = sampler(np.ones((1, 1)), [length], segments=segments, batch=100, pairs=0, seed=3)
    snippets = np.concatenate([source.draw()[1] for _ in range(draws // 100)])
    for position, (low, high) in enumerate(slow_bounds(length, segments)):
        counts = np.bincount(snippets[:, position], minlength=length)
        assert counts.sum() == counts[low : high + 1].sum()
        assert uniform(counts[low : high + 1]) > 1e-4


def test_positions_are_independent():
    source = sampler(np.ones((1, 1)), [40], segments=4, batch=200, pairs=0, seed=4)
    snippets = np.concatenate([source.draw()[1] for _ in range(100)])
    correlation = np.corrcoef(snippets.T)[np.triu_indices(4, 1)]
    assert np.abs(correlation).max() < 4 / math.sqrt(len(snippets))


def test_classes_pairs_and_the_rest_are_uniform():
    # class 0: videos 0-1, class 1: 2-4, class 2: 5-9, class 3: video 10 alone
    labels = np.eye(4)[[0, 0, 1, 1, 1, 2, 2, 2, 2, 2, 3]]
    source = sampler(labels, [5] * 11, segments=1, seed=7)
    videos = np.stack([source.draw()[0] for _ in range(6000)])
    of = labels.argmax(axis=1)
    pairs = videos[:, :6].reshape(-1, 2)
    assert uniform(np.bincount(of[pairs[:, 0]], minlength=3)) > 1e-4
    for label in range(3):
        inside = pairs[of[pairs[:, 0]] == label]
        members = np.flatnonzero(of == label)
        ordered = [(a, b) for a in members for b in members if a != b]
        counts = [int(((inside == pair).all(axis=1)).sum()) for pair in ordered]
        assert sum(counts) == len(inside)
        assert uniform(counts) > 1e-4
    rest = videos[:, 6:].reshape(-1)
    assert uniform(np.bincount(rest, minlength=11)) > 1e-4  # the single video of class 3 among them
    assert 10 not in pairs
    # with replacement: a class may serve twice in a batch, a video may fill two places
    assert any(len(set(of[row[0:6:2]])) < 3 for row in videos)
    assert any(len(set(row[6:])) < 4 for row in videos)


def test_class_of_one_video_is_told(caplog):
    source = sampler(np.eye(3)[[0, 0, 1, 2, 2]], [5] * 5)
    assert source.notices == (
        "1 of 3 classes have a single training video; pairs are drawn from the 2 classes that have two",
    )
    assert source.notices[0] in caplog.text
    assert sampler(np.eye(3)[[0, 0, 1, 2, 2]], [5] * 5, pairs=0).notices == ()


@pytest.mark.parametrize(
    ("labels", "lengths", "pairs", "message"),
    [
        (np.empty((0, 2)), [], 0, "0 rows"),
        (np.ones((2, 2)), [5], 0, "2 rows of labels for 1"),
        (np.ones((2, 2)), [5, 0], 0, "have no snippet .rows 1."),
        (np.ones((2, 2)), [5, 5], 6, "do not fit into a batch of 10"),
    ],
)
def test_impossible_requests(labels, lengths, pairs, message):
    with pytest.raises(DataError, match=message):
        sampler(labels, lengths, pairs=pairs)
