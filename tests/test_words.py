"""Commands that are printed for a user can be pasted as they stand."""

from __future__ import annotations

import shlex

import pytest

from dce_ray.commandline import parse
from dce_ray.words import argument, command_line, written


@pytest.mark.parametrize(
    "value",
    [
        "results/hapt/delu/one",
        "my results/one",
        "it's",
        'a "b" c',
        "$HOME/x",
        "a`b",
        "a,b=c",
        "[a]",
        "ü",
        "{x}",
        "a\\b",
    ],
)
def test_an_argument_survives_the_shell_and_the_command_s_grammar(value):
    (word,) = shlex.split(argument("search", value))
    assert parse([word]) == {"search": value}
    assert parse([argument("search", value, pasted=False)]) == {"search": value}


def test_a_command_line_spells_dots_and_shortens_what_lies_below(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = command_line("dce_ray.search", resume=tmp_path / "results" / "one", confirm__seeds=5)
    assert line == "python -m dce_ray.search resume=results/one confirm.seeds=5"
    assert command_line("x", a=str(tmp_path)) == f"python -m x a={tmp_path}"  # a text stays as it is


def test_numbers_are_written_without_exponents():
    assert [written(number) for number in (1_000_000, 2**31 - 1, 20.0, 0.01, float("inf"))] == [
        *("1000000", "2147483647", "20", "0.01", "inf"),
    ]
