"""The command line refuses what it does not know, by name, before anything starts."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from dce_ray.commandline import UNREAD, compose, parse
from dce_ray.errors import ConfigError
from dce_ray.former import unknown_key
from dce_ray.keys import keys_of, listing
from dce_ray.presets import run_config
from dce_ray.search.settings import Settings

DEFAULTS = {"baseline": "delu", "method": {"delta": 0.7, "lambda": 1.0}, "scs": True, "tiou": [0.5], "data": None}


def test_values_keep_their_types():
    result = compose(
        DEFAULTS,
        ["method.lambda=0.25", "scs=off", "tiou=[0.3,0.5]", "data=../some-folder/a_b.c", "baseline='a b'"],
    )
    assert result["method"] == {"delta": 0.7, "lambda": 0.25}
    assert result["scs"] is False
    assert result["tiou"] == [0.3, 0.5]
    assert result["data"] == "../some-folder/a_b.c"
    assert result["baseline"] == "a b"


@pytest.mark.parametrize("many", [1, 2000], ids=["short", "longer than a pipe holds"])
def test_a_reader_that_goes_ends_a_command_without_a_traceback(many):
    """``keys | head``: whether the fault comes while we print or when the rest is written at the end."""
    code = "from dce_ray.commandline import command\n"
    code += f"command(lambda arguments: print('a line of some length\\n' * {many}), 'usage')"
    read, write = os.pipe()
    os.close(read)
    ended = subprocess.run([sys.executable, "-c", code], stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (ended.returncode, ended.stderr) == (UNREAD, "")


def test_a_command_works_whose_output_is_closed():
    code = "from dce_ray.commandline import command\ncommand(lambda arguments: print('a line'), 'usage')"
    shell = ["bash", "-c", f'{sys.executable} -c "$0" >&-', code]
    ended = subprocess.run(shell, stderr=subprocess.PIPE, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_no_file_gets_the_number_of_what_was_closed(closed, tmp_path):
    """Else what is written on standard error would stand in that file."""
    code = (
        "import os, sys, subprocess\nfrom dce_ray.commandline import command\ndef main(arguments):\n"
        "    file = open(sys.argv[1], 'w')\n    print('out')\n    print('err', file=sys.stderr)\n"
        "    os.write(2, b'err')\n    subprocess.run(['sh', '-c', 'echo out && echo err >&2'], check=True)\n"
        "    file.write(str(file.fileno() > 2))\n    file.close()\ncommand(main, 'usage')"
    )
    shell = ["bash", "-c", f'{sys.executable} -c "$0" {tmp_path / "file"} {closed}', code]
    ended = subprocess.run(shell, check=False, capture_output=True)
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "file").read_text() == "True"


def test_a_fault_behind_the_reader_that_went_is_none():
    """A campaign looks whether it was its reader that went, and leaves the fault to the command."""
    code = "from dce_ray.commandline import command\nfrom dce_ray.interrupts import nobody_reads\n"
    code += "def main(arguments):\n    assert nobody_reads()\n    raise BrokenPipeError('our output')\n"
    read, write = os.pipe()
    os.close(read)
    whole = [sys.executable, "-c", f"{code}command(main, 'usage')"]
    ended = subprocess.run(whole, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (ended.returncode, ended.stderr) == (UNREAD, "")


def test_another_broken_pipe_than_the_outputs_is_a_fault():
    code = "from dce_ray.commandline import command\ndef broken(arguments):\n    raise BrokenPipeError('a socket')\n"
    ended = subprocess.run(
        [sys.executable, "-c", f"{code}command(broken, 'usage')"], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert "BrokenPipeError: a socket" in ended.stderr


def test_defaults_are_not_changed():
    compose(DEFAULTS, ["method.delta=0.1"])
    assert DEFAULTS["method"]["delta"] == 0.7


def test_every_unknown_key_is_named_with_the_nearest():
    with pytest.raises(ConfigError) as fault:
        compose(DEFAULTS, ["method.detla=1", "baselin=delu"])
    assert "did you mean method.delta?" in str(fault.value)
    assert "did you mean baseline?" in str(fault.value)


def test_a_key_in_the_wrong_group_is_sent_to_its_own():
    known = [
        "seed",
        "search.seed",
        "training.resident",
        "training.prefetch",
        *(f"other{number}" for number in range(9)),
    ]
    line = unknown_key("training.seed", known)
    assert "(did you mean seed or search.seed?)" in line
    assert "(did you mean seed?)" in unknown_key("training.seed", [one for one in known if one != "search.seed"])


@pytest.mark.parametrize(
    ("words", "written"),
    [
        ("space.delta={low:0.9,high:0.5}", "'space.delta={low: 0.9, high: 0.5}'"),
        ("space.training.learning_rate={low:1e-5,high:1e-3,log:true}",
         "'space.training.learning_rate={low: 1e-5, high: 1e-3, log: true}'"),
    ],
)  # fmt: skip
def test_braces_that_a_shell_has_expanded_are_told_with_their_quotes(words, written):
    expanded = subprocess.run(["bash", "-c", f"printf '%s\\n' {words}"], capture_output=True, text=True, check=True)
    with pytest.raises(ConfigError) as fault:
        parse(expanded.stdout.split())
    key = words.partition("=")[0]
    assert str(fault.value).startswith(f"{key}=: is given {words.count(':')} times (low:")
    assert str(fault.value).endswith(f"write {written}")
    assert parse([written.strip("'")])[key]["low"] == float(written.partition("low: ")[2].partition(",")[0])


def test_a_key_given_twice_otherwise_is_to_be_given_once():
    with pytest.raises(ConfigError, match=r"^space\.delta=: is given twice; give it once$"):
        parse(["space.delta=0.9", "space.delta=0.5"])
    with pytest.raises(ConfigError, match=r"^address=: is given twice; give it once$"):
        parse(["address=one:80", "address=two:80"])


def test_the_list_of_keys_names_no_bound_that_is_none():
    run = run_config("delu", "synthetic", data_set="synthetic")
    listed = listing([*keys_of(run), *keys_of(Settings())], [])
    assert not re.search(r"\binf\b", listed)
    assert "sampling.folds=5\n      K: parts of equal size" in listed


@pytest.mark.parametrize("argument", ["+new=1", "~scs", "scs", "method.delta=0.1,0.2", "data=("])
def test_what_is_not_key_value_is_refused(argument):
    with pytest.raises(ConfigError, match=r"key=value|\[a,b\]"):
        compose(DEFAULTS, [argument])


def test_a_group_cannot_be_replaced_by_a_value():
    with pytest.raises(ConfigError, match=r"method\.delta"):
        compose(DEFAULTS, ["method=1"])


def test_a_command_ends_with_one_message_and_status_2():
    code = (
        "from dce_ray.commandline import command, compose\n"
        "command(lambda arguments: print(compose({'a': 1}, arguments)) or 0, 'usage text')"
    )
    run = subprocess.run([sys.executable, "-c", code, "b=1"], capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert run.stderr.strip() == "ConfigError: unknown key 'b'; known: a"
    assert run.stdout == ""
    usage = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=False)
    assert (usage.returncode, usage.stdout.strip()) == (0, "usage text")


def test_the_first_import_of_matplotlib_says_nothing_of_its_fonts(tmp_path):
    code = "from dce_ray.commandline import command; command(lambda _: __import__('matplotlib.font_manager') and 0, '')"
    environment = {**os.environ, "MPLCONFIGDIR": str(tmp_path)}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert list(tmp_path.glob("fontlist*.json"))
    assert run.stderr == ""
