"""What a job installs agrees with what the project asks for and what the tests ran with."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from dce_ray.cluster.submission import lock_lines

ROOT = Path(__file__).resolve().parents[2]
REMEDY = "run make lock and commit dce_ray/cluster/requirements.txt"


def pins(text: str) -> list[Requirement]:
    return [Requirement(line) for line in text.splitlines() if line and not line.startswith("#")]


def version_of(pin: Requirement) -> str:
    return next(iter(pin.specifier)).version


@pytest.fixture(scope="module")
def lock() -> dict[str, str]:
    """Version by package, of those that this machine would install."""
    text = (ROOT / "dce_ray" / "cluster" / "requirements.txt").read_text()
    return {
        canonicalize_name(pin.name): version_of(pin)
        for pin in pins(text)
        if pin.marker is None or pin.marker.evaluate()
    }


def test_everything_asked_for_is_pinned_in_range(lock):
    asked = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    needs = [Requirement(text) for text in asked]
    wrong = [str(need) for need in needs if lock.get(canonicalize_name(need.name), "0") not in need.specifier]
    assert wrong == [], REMEDY


def test_pins_are_those_of_the_constraints(lock):
    constraints = {canonicalize_name(pin.name): version_of(pin) for pin in pins((ROOT / "constraints.txt").read_text())}
    other = {name: (lock[name], version) for name, version in constraints.items() if lock.get(name, version) != version}
    assert other == {}, REMEDY
    assert len(constraints.keys() & lock.keys()) > 10


def test_what_the_packages_need_in_turn_is_pinned(lock):
    """Everything that the installed packages say they need, with their extras, from the project's own on."""
    seen: set[tuple[str, frozenset[str]]] = set()
    wanted = [("dce-ray", frozenset[str]())]
    while wanted:
        name, extras = wanted.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        for text in metadata.requires(name) or []:
            need = Requirement(text)
            if any(need.marker is None or need.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
                wanted.append((canonicalize_name(need.name), frozenset(need.extras)))
    missing = {name for name, _ in seen} - lock.keys() - {"dce-ray"}
    assert missing == set(), REMEDY
    assert len(seen) > 60


def test_a_job_installs_pins_alone_and_leaves_ray_to_the_node(lock):
    lines = lock_lines()
    assert all(re.match(r"[\w.-]+==\S+( ; .+)?$", line) for line in lines)
    assert not [line for line in lines if line.startswith("ray==")]
    assert "ray" in lock
