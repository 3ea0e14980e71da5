"""Commands that are printed for a user can be pasted as they stand."""

from __future__ import annotations

import shlex

import pytest

from dce_ray.commandline import parse
from dce_ray.words import argument, command_line, portable_command, runnable, written


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
    assert line.partition(" -m ")[2] == "dce_ray.search resume=results/one confirm.seeds=5"
    assert portable_command("x", a=str(tmp_path / "y")) == f"python -m x a={tmp_path}/y"


def test_a_kept_command_is_shown_with_the_interpreter_that_runs_and_paths_from_here(tmp_path, monkeypatch):
    kept = portable_command("dce_ray.confirm", search=tmp_path / "my results" / "one", seeds=16)
    assert kept == f"python -m dce_ray.confirm \"search='{tmp_path}/my results/one'\" seeds=16"
    monkeypatch.chdir(tmp_path)
    interpreter = tmp_path / ".venv" / "bin" / "python"
    monkeypatch.setattr("sys.executable", str(interpreter))
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert runnable(kept) == ".venv/bin/python -m dce_ray.confirm \"search='my results/one'\" seeds=16"
    assert runnable(kept, anywhere=True) == kept.replace("python", str(interpreter), 1)
    interpreter.parent.mkdir(parents=True)
    interpreter.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(interpreter.parent))
    assert runnable(kept, anywhere=True) == kept
    assert runnable(f"ls {tmp_path} {tmp_path}/x") == f"ls {tmp_path} x"


def test_numbers_are_written_without_exponents():
    assert [written(number) for number in (1_000_000, 2**31 - 1, 20.0, 0.01, float("inf"))] == [
        *("1000000", "2147483647", "20", "0.01", "inf"),
    ]
