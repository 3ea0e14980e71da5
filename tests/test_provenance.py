"""The command that a folder was made by can be pasted."""

from __future__ import annotations

import shlex
import subprocess
import sys

from dce_ray.provenance import given_command

PROGRAM = "from dce_ray.provenance import given_command\nprint(given_command())\n"


def test_a_module_is_called_by_its_name_and_odd_values_are_quoted(tmp_path):
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "__init__.py").write_text("")
    (tmp_path / "made" / "__main__.py").write_text(PROGRAM)
    words = ["space.training.learning_rate={low: 1e-4, high: 1e-2}", "tracking.uri=http://me:s3cret@host"]
    environment = {"PYTHONPATH": ":".join([str(tmp_path), *filter(None, sys.path)])}
    command = [sys.executable, "-m", "made", *words]
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    told = ended.stdout.strip()
    assert shlex.split(told) == ["python", "-m", "made", words[0], "tracking.uri=http://me:***@host"]


def test_a_program_of_the_users_own_is_called_as_it_was(tmp_path):
    program = tmp_path / "my search.py"
    program.write_text(PROGRAM)
    environment = {"PYTHONPATH": ":".join(filter(None, sys.path))}
    command = [sys.executable, str(program), "one"]
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert shlex.split(ended.stdout) == [str(program), "one"]
    assert given_command(), "also of a process like this one"
