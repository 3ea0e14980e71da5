"""The table of published values against the list of them, and its readings against the released code."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest
import yaml

from dce_ray.config import REPRESENTATIVES, MethodConfig
from dce_ray.method import METHOD_PRESETS, Consistency, Intervention
from dce_ray.method.mcm import REDUCTIONS, TARGETS
from dce_ray.method.scs import STRATEGIES

BASELINES = ("co2net", "delu", "ddgnet")
ROOT = Path(__file__).resolve().parents[2]
RELEASED_TARGETS = {"co2net": "ones", "delu": "proposal", "ddgnet": "proposal"}


@pytest.fixture(scope="module")
def settings():
    path = Path(os.environ.get("DCE_PAPER", ROOT.parent / "shared" / "paper")) / "settings.yaml"
    if not path.exists():
        pytest.skip(f"the list of published values is not at {path}; set DCE_PAPER to its folder")
    return yaml.safe_load(path.read_text())


def test_every_preset_is_a_sound_configuration():
    for values in METHOD_PRESETS.values():
        assert MethodConfig.from_mapping(values).to_mapping().items() >= values.items()


def test_the_table_holds_every_published_value_and_no_other(settings):
    source = {"paper": "paper", "released": "code"}
    published = {
        (preset, data_set, baseline): settings[data_set][baseline][key]
        for preset, key in source.items()
        for data_set in ("thumos14", "activitynet12")
        for baseline in BASELINES
        if key in settings[data_set][baseline]
    }
    assert METHOD_PRESETS.keys() == published.keys()
    for name, values in published.items():
        assert METHOD_PRESETS[name].items() >= values.items(), name
        assert METHOD_PRESETS[name]["lambda"] == values.get("lambda", 1.0), name
        assert METHOD_PRESETS[name]["mcm_start_iteration"] == values.get("mcm_start_iteration", 0), name


def test_readings_of_the_released_code():
    for (preset, _, baseline), values in METHOD_PRESETS.items():
        released = preset == "released"
        assert values["target"] == (RELEASED_TARGETS[baseline] if released else "representative")
        assert values["representatives"] == ("closed" if released else "half_open")
        assert values["epsilon"] == (1e-5 if released and baseline == "delu" else 1e-8)
        assert (values["strategy"], values["reduction"]) == ("ratio", "mean")


def test_the_papers_readings_are_the_defaults():
    scalars = {"delta", "theta_rep", "theta_pro", "beta", "gamma"}
    defaults = MethodConfig().to_mapping()
    for (preset, _, _), values in METHOD_PRESETS.items():
        if preset == "paper":
            assert {key: values.get(key) for key in defaults if key not in scalars} == {
                key: value for key, value in defaults.items() if key not in scalars
            }


def test_configuration_and_method_know_the_same_variants():
    # The names that a configuration may hold are stated in config.py, what they mean in tables of the method.
    choices = {item.name: item.metadata.get("choices") for item in dataclasses.fields(MethodConfig)}
    assert choices["strategy"] == tuple(STRATEGIES)
    assert choices["target"] == tuple(TARGETS)
    assert choices["reduction"] == tuple(REDUCTIONS)
    assert choices["representatives"] == REPRESENTATIVES


def test_the_method_states_no_default_of_its_own():
    for part in (Intervention, Consistency):
        assert all(item.default is dataclasses.MISSING for item in dataclasses.fields(part))
