"""Words that several rooms say to a user: counted things, numbers as people write them, commands that can be pasted."""

from __future__ import annotations

import math
import re
import shlex
import shutil
import sys
from pathlib import Path

PLAIN_VALUE = re.compile(r"[\w./~-]+(:[\w./~-]+)*", re.ASCII)
"""Values that neither a shell nor the grammar of the command line reads as anything else."""
SHELL = re.compile(r'[\\"$`!]')
"""What a shell reads between double quotes, too."""

SECRETS = (
    (re.compile(r"(?<=://)([^:/\s@]*):\S*@"), r"\1:***@"),
    (re.compile(r"(?<=http://|ttps://)[^:/\s@]+@"), "***@"),
    (re.compile(r"(?i)([?&;][^=&;\s]*(?:pass|pwd|secret|token|key|sig|credential)[^=&;\s]*)=[^&;\s]+"), r"\1=***"),
)
"""Where an address holds what nobody else may read, and what is shown in its place: the password, the token that stands
for a name, and what a query calls so."""


def masked(text: str) -> str:
    """``text`` with every password and token of the addresses in it replaced by ``***``.

    >>> masked("uri=https://me:secret@host/x"), masked("postgresql://host/db?user=me&password=secret")
    ('uri=https://me:***@host/x', 'postgresql://host/db?user=me&password=***')
    >>> masked("https://token@host"), masked("s3://bucket/key"), masked("http://host:5000")
    ('https://***@host', 's3://bucket/key', 'http://host:5000')
    """
    for pattern, shown in SECRETS:
        text = pattern.sub(shown, text)
    return text


def is_name(text: str) -> bool:
    """Whether a folder or file may be called so below a place: it is one part of a path, and stays there.

    >>> [is_name(text) for text in ("one", "my search", "../one", "a/b", "..", ".", "")]
    [True, True, False, False, False, False, False]
    """
    return text not in ("", ".", "..") and not set(text) & {"/", "\0"}


def counted(number: float, thing: str) -> str:
    """A number with its thing, in the plural where it is not one.

    >>> counted(1, "CPU"), counted(2.0, "CPU"), counted(0.25, "GPU"), counted(0, "run")
    ('1 CPU', '2 CPUs', '0.25 GPUs', '0 runs')
    """
    return f"{written(number)} {thing}{'' if number == 1 else 's'}"


def written(number: float) -> str:
    """A number without an exponent where it is a whole one.

    >>> written(10**6), written(2147483647), written(0.25), written(1e-06), written(3.0)
    ('1000000', '2147483647', '0.25', '1e-06', '3')
    """
    whole = math.isfinite(number) and number == int(number)
    return str(int(number)) if whole else f"{number:.6g}"


def argument(key: str, value: object, *, pasted: bool = True) -> str:
    """One ``key=value``, odd characters quoted for the command's grammar, and for the shell it is pasted into.

    >>> argument("resume", "results/hapt/delu/one")
    'resume=results/hapt/delu/one'
    >>> argument("address", "http://127.0.0.1:8265")
    'address=http://127.0.0.1:8265'
    >>> print(argument("resume", "my results/one"))
    "resume='my results/one'"

    Args:
        key: dotted.
        value: a path, a name or a number.
        pasted: whether a shell reads it first.
    """
    text = str(value)
    if PLAIN_VALUE.fullmatch(text):
        return f"{key}={text}"
    quoted = text.replace("'", "\\'")
    word = f"{key}='{quoted}'"
    if not pasted:
        return word
    return shlex.quote(word) if SHELL.search(word) else f'"{word}"'


def command_line(module: str, **values: object) -> str:
    """A command of this project that can be pasted as it stands; two underscores in a key stand for its dot.

    >>> command_line("dce_ray.search", resume="results/one", confirm__seeds=5).partition(" -m ")[2]
    'dce_ray.search resume=results/one confirm.seeds=5'

    Args:
        module: what ``python -m`` runs.
        values: its arguments, in order.
    """
    return runnable(portable_command(module, **values))


def portable_command(module: str, **values: object) -> str:
    """The same as it is kept where programs read it again, in another place or by another interpreter; whoever shows
    it says :func:`runnable`.

    >>> portable_command("dce_ray.search", resume="results/one", confirm__seeds=5)
    'python -m dce_ray.search resume=results/one confirm.seeds=5'
    """
    words = [argument(key.replace("__", "."), value) for key, value in values.items()]
    return " ".join(["python -m", module, *words])


def shown_path(value: object) -> object:
    """A path as seen from the working folder where it lies below it; anything else as it is."""
    here = Path.cwd()
    return value.relative_to(here) if isinstance(value, Path) and value.is_relative_to(here) else value


def runnable(command: str, *, anywhere: bool = False) -> str:
    """A command that begins with ``python``, as it can be pasted: the interpreter that runs now where a shell's
    ``python`` is another, and paths below the working folder as seen from there.

    Args:
        command: what is printed or written.
        anywhere: whether it goes into a file, which is read from any folder: then all paths stay whole.
    """
    if not anywhere:
        command = re.sub(rf"(?<=[=\s'\"]){re.escape(str(Path.cwd()))}/(?=[^/\s])", "", command)
    whole = command.startswith("python ")
    return command.replace("python ", f"{_interpreter(anywhere)} ", 1) if whole else command


def _interpreter(anywhere: bool) -> str:
    here, found = Path(sys.executable), shutil.which("python")
    if found is not None and Path(found).parent.resolve() == here.parent.resolve():
        return "python"
    return shlex.quote(str(here if anywhere else shown_path(here)))
