"""The command line refuses what it does not know, by name, before anything starts."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from dce_ray.commandline import compose
from dce_ray.errors import ConfigError

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


def test_defaults_are_not_changed():
    compose(DEFAULTS, ["method.delta=0.1"])
    assert DEFAULTS["method"]["delta"] == 0.7


def test_every_unknown_key_is_named_with_the_nearest():
    with pytest.raises(ConfigError) as fault:
        compose(DEFAULTS, ["method.detla=1", "baselin=delu"])
    assert "did you mean method.delta?" in str(fault.value)
    assert "did you mean baseline?" in str(fault.value)


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
