"""Errors cross processes and name the nearest known thing."""

from __future__ import annotations

import inspect
import pickle

import pytest

from dce_ray import errors

CLASSES = [item for _, item in inspect.getmembers(errors, inspect.isclass) if issubclass(item, errors.DceError)]


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_survives_pickling(kind: type[errors.DceError]):
    fault = kind(7, "contrastive") if kind is errors.NonFiniteError else kind("value, rule, remedy")
    again = pickle.loads(pickle.dumps(fault))
    assert type(again) is kind
    assert str(again) == str(fault)
    assert isinstance(again, ValueError)


def test_non_finite_names_iteration_and_term():
    fault = pickle.loads(pickle.dumps(errors.NonFiniteError(12, "guide")))
    assert (fault.iteration, fault.term) == (12, "guide")
    assert "guide is not finite at iteration 12" in str(fault)


def test_unknown_name_offers_the_nearest():
    line = errors.unknown_name("baseline", "dulu", ["co2net", "delu", "ddgnet"])
    assert line == "unknown baseline 'dulu' (did you mean delu?); known: co2net, ddgnet, delu"
    assert "did you mean" not in errors.unknown_name("baseline", "zzz", ["delu"])


def test_of_many_names_the_nearest_three_are_offered_and_the_rest_is_elsewhere():
    known = ["confirm.seeds", "confirm.max_seeds", "confirm.seeding", "seed", *(f"other{n}" for n in range(20))]
    line = errors.unknown_among_many("key", "confirm.seedss", known, "--help lists them")
    near = "confirm.seeds, confirm.max_seeds or confirm.seeding"
    assert line == f"unknown key 'confirm.seedss' (did you mean {near}?); 24 are known: --help lists them"
    assert errors.unknown_among_many("key", "zzz", known, "there") == "unknown key 'zzz'; 24 are known: there"
    assert errors.unknown_among_many("key", "b", ["a"], "there") == "unknown key 'b'; known: a"
