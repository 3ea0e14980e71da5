"""Shipped spaces hold every published value; what cannot be searched is refused before anything starts."""

import pytest

from dce_ray.config import SCALARS, ScalarRange
from dce_ray.errors import SearchSpaceError
from dce_ray.method.presets import METHOD_PRESETS
from dce_ray.search.space import SearchSpace
from dce_ray.search.space_file import load_space

BASELINES = ("co2net", "delu", "ddgnet")
PAPER = {"delta": 0.8, "theta_rep": 0.9, "theta_pro": 0.6, "beta": 0.5, "gamma": 0.5, "lambda": 1.0}


@pytest.mark.parametrize(("preset", "data_set", "baseline"), sorted(METHOD_PRESETS))
def test_shipped_spaces_hold_every_published_value(preset, data_set, baseline):
    space = load_space(baseline, data_set, {})
    published = METHOD_PRESETS[preset, data_set, baseline]
    inside, notes = space.project({name: published[name] for name in SCALARS})
    assert notes == []
    assert space.complete(inside) == {name: published[name] for name in SCALARS}


@pytest.mark.parametrize("baseline", BASELINES)
def test_shipped_spaces_search_all_six_and_survive_the_round_trip(baseline):
    for data_set in ("default", "activitynet12", "hapt"):
        space = load_space(baseline, data_set, {})
        assert set(space.searched) == set(SCALARS)
        assert SearchSpace.from_mapping(space.to_mapping()) == space


def test_command_line_changes_fixes_and_ties():
    space = load_space("delu", "default", {"delta.high": 0.95, "lambda": 1.0, "gamma": "beta", "beta.log": False})
    assert space.searched["delta"] == ScalarRange(0.3, 0.95)
    assert set(space.searched) == {"delta", "theta_rep", "theta_pro", "beta"}
    values = space.complete({"delta": 0.5, "theta_rep": 0.6, "theta_pro": 0.7, "beta": 0.25})
    assert values == {"delta": 0.5, "theta_rep": 0.6, "theta_pro": 0.7, "beta": 0.25, "gamma": 0.25, "lambda": 1.0}


def test_tie_to_a_fixed_scalar():
    space = load_space("delu", "default", {"gamma": "beta", "beta": 0.3})
    assert space.complete({"delta": 0.5, "theta_rep": 0.6, "theta_pro": 0.7, "lambda": 0.5})["gamma"] == 0.3


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"detla": 0.5}, ["space.detla", "did you mean space.delta"]),
        ({"delta.hihg": 0.5}, ["did you mean space.delta.high"]),
        ({"delta.low": 0.99}, ["delta", "low must be below", "high"]),
        ({"delta.high": 1.5}, ["delta", "must lie in [0, 1]"]),
        ({"beta.low": 0}, ["beta", "log needs low > 0"]),
        ({"delta.high": "much"}, ["delta", "must be numbers"]),
        ({"lambda": 2}, ["lambda=2", "[0, 1]"]),
        ({"gamma": "bet"}, ["unknown scalar 'bet'", "did you mean beta"]),
        ({"gamma": "beta", "beta": "delta"}, ["tied itself"]),
        ({"first_points": ["papr"]}, ["did you mean paper"]),
        (dict.fromkeys(SCALARS, 0.5), ["nothing is left to search"]),
        ({"delta": [0.1, 0.2]}, ["delta", "give {low, high}"]),
        ({"delta.high": float("nan")}, ["must be numbers"]),
    ],
)
def test_refused(overrides, words):
    with pytest.raises(SearchSpaceError) as caught:
        load_space("delu", "default", overrides)
    for word in words:
        assert word in str(caught.value)


def test_all_faults_are_named_at_once():
    with pytest.raises(SearchSpaceError) as caught:
        load_space("delu", "default", {"delta.low": 0.99, "lambda": 3})
    assert "delta" in str(caught.value)
    assert "lambda" in str(caught.value)


def test_file_that_searches_what_no_run_reads():
    mapping = load_space("delu", "default", {}).to_mapping() | {"detla": 0.5, "kappa": 1}
    with pytest.raises(SearchSpaceError) as caught:
        SearchSpace.from_mapping(mapping, "search_spaces/delu.yaml")
    assert str(caught.value).splitlines() == [
        "search_spaces/delu.yaml searches 2 parameters that no run reads:",
        "  detla   (did you mean delta?)",
        "  kappa",
        "Known parameters: delta, theta_rep, theta_pro, beta, gamma, lambda",
    ]


def test_point_outside_is_left_out_and_fixed_scalars_are_told():
    assert load_space("delu", "default", {"delta.high": 0.7}).project(PAPER) == (
        {},
        ["delta=0.8 lies outside [0.3, 0.7]; the point is left out"],
    )
    inside, notes = load_space("delu", "default", {"lambda": 0.5}).project(PAPER)
    assert "lambda" not in inside
    assert notes == ["lambda=0.5 in place of 1"]


def test_a_published_point_that_the_space_changes_is_not_called_published():
    from dce_ray.search.settings import Experiment, Settings

    space = load_space("delu", "default", {"lambda": 0.1})
    experiment = Experiment(Settings(), None, space, "default", {"paper": PAPER, "released": PAPER | {"lambda": 0.1}})
    points, notes = experiment.queued()
    assert [origin for origin, _ in points] == ["paper-altered"]
    assert "first point paper: lambda=0.1 in place of 1" in notes
    untouched = Experiment(Settings(), None, load_space("delu", "default", {}), "default", {"paper": PAPER})
    assert [origin for origin, _ in untouched.queued()[0]] == ["paper"]
