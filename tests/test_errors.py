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
