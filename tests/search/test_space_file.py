"""A search space of the user's own: ``space=<file.yaml>``."""

from __future__ import annotations

import pytest

from dce_ray.commandline import parse
from dce_ray.config import ScalarRange
from dce_ray.errors import ConfigError, SearchSpaceError
from dce_ray.search.__main__ import request_of
from dce_ray.search.settings import Request, build_experiment
from dce_ray.search.space_file import load_space


def space_of(tmp_path, text, overrides=None, data_set="default"):
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    return load_space("delu", data_set, overrides or {}, file=str(file))


def test_what_the_file_names_takes_the_place_of_the_shipped_range(tmp_path):
    shipped = load_space("delu", "default", {})
    space = space_of(tmp_path, "beta: {low: 0.1, high: 0.5}\nlambda: 0.5\ngamma: beta\nfirst_points: []")
    assert shipped.dimensions["beta"].log
    assert space.dimensions["beta"] == ScalarRange(0.1, 0.5, log=True)
    assert (space.dimensions["lambda"], space.dimensions["gamma"], space.first_points) == (0.5, "beta", ())
    for name in ("delta", "theta_rep", "theta_pro"):
        assert space.dimensions[name] == shipped.dimensions[name]


SAID = [
    ("beta: {low: 0.1, high: 1.0}", {"low": 0.1, "high": 1.0}, ScalarRange(0.1, 1.0, log=True)),
    ("beta: {low: 0.1, high: 1.0, log: false}", {"low": 0.1, "high": 1.0, "log": False}, ScalarRange(0.1, 1.0)),
    ("beta: {high: 1.0}", {"high": 1.0}, ScalarRange(0.02, 1.0, log=True)),
    ("delta: {low: 0.2, high: 0.9}", {"low": 0.2, "high": 0.9}, ScalarRange(0.2, 0.9)),
    ("training.learning_rate: {low: 1e-4, high: 1e-2}", {"low": 1e-4, "high": 1e-2}, ScalarRange(1e-4, 1e-2)),
]


@pytest.mark.parametrize(("line", "mapping", "searched"), SAID)
def test_a_range_means_the_same_in_a_file_on_the_command_line_and_from_python(tmp_path, line, mapping, searched):
    (tmp_path / "mine.yaml").write_text(line)
    name, _, value = line.partition(": ")
    ways = [
        request_of({"space": str(tmp_path / "mine.yaml")}),
        request_of(parse([f"space.{name}={value}"])),
        Request(space={name: mapping}),
    ]
    for way in ways:
        assert build_experiment(way, "store", "default").space.dimensions[name] == searched


def test_a_range_over_a_scalar_that_the_file_ties_has_the_shipped_scale(tmp_path):
    space = space_of(tmp_path, "gamma: beta", {"gamma.low": 0.1, "gamma.high": 1.0})
    assert space.dimensions["gamma"] == ScalarRange(0.1, 1.0, log=True)
    with pytest.raises(SearchSpaceError, match="gamma: log needs low > 0, found 0; give one above 0, or log: false"):
        space_of(tmp_path, "gamma: {low: 0}")


def test_a_key_that_no_run_reads_is_told_with_its_file(tmp_path):
    with pytest.raises(SearchSpaceError, match=rf"^{tmp_path}/mine\.yaml:\n  unknown .*space\.delta\.low"):
        space_of(tmp_path, "dleta: {low: 0.2, high: 0.9}")
    with pytest.raises(SearchSpaceError, match=r"^unknown search space key 'space\.dleta\.low'"):
        space_of(tmp_path, "delta: {low: 0.2, high: 0.9}", {"dleta.low": 0.1})


def test_further_keys_are_dotted_or_nested(tmp_path):
    nested = space_of(tmp_path, "training:\n  learning_rate: {low: 1.0e-4, high: 1.0e-2, log: true}\n")
    dotted = space_of(tmp_path, "training.learning_rate: {low: 1e-4, high: 1E-2, log: true}\n")  # a text in YAML 1.1
    assert nested.dimensions == dotted.dimensions
    assert dotted.further["training.learning_rate"].low == 1e-4
    assert list(nested.further) == ["training.learning_rate"]


def test_sections_are_chosen_by_the_data_set(tmp_path):
    text = "default:\n  delta: 0.6\nthumos14:\n  delta: 0.7\n"
    assert space_of(tmp_path, text).dimensions["delta"] == 0.6
    assert space_of(tmp_path, text, data_set="thumos14").dimensions["delta"] == 0.7


def test_the_command_line_lies_above_the_file(tmp_path):
    space = space_of(tmp_path, "delta: {low: 0.5, high: 0.8}", {"delta.high": 0.95, "lambda": 1.0})
    assert (space.dimensions["delta"].low, space.dimensions["delta"].high) == (0.5, 0.95)
    assert space.dimensions["lambda"] == 1.0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("detla: 0.5", "did you mean"),
        ("delta: {low: 0.9, high: 0.5}", "low must be below high"),
        ("delta: [", "not YAML"),
        ("", "holds no space"),
    ],
)
def test_faults_of_the_file_are_told(tmp_path, text, words):
    with pytest.raises(SearchSpaceError, match=words):
        space_of(tmp_path, text)


def test_the_request_takes_a_file_and_nothing_else(tmp_path):
    request = request_of({"space": "mine.yaml", "space.delta.high": 0.9})
    assert request.space_file == "mine.yaml"
    assert request.space == {"delta": {"high": 0.9}}
    assert request_of({}).space_file is None
    with pytest.raises(ConfigError, match="names a YAML file"):
        request_of({"space": 3})
    with pytest.raises(SearchSpaceError, match=r"nothing.yaml: cannot be read"):
        load_space("delu", "default", {}, file=str(tmp_path / "nothing.yaml"))
