"""The command line of every ``python -m dce_ray.*``: ``key=value``, and errors with the nearest names.

Hydra parses the overrides (quoting, lists, numbers, booleans); what may be overridden is a plain nested mapping of
defaults, so that a command has one source of keys, and an unknown key is refused before anything starts.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from typing import Any, NoReturn

from dce_ray.errors import ConfigError, DceError
from dce_ray.former import LISTED, our_words, unknown_key
from dce_ray.interrupts import (
    INTERRUPTED,
    broken_line,
    came_after_one,
    end_by_sigterm_too,
    ends_at_once,
    imported,
    nobody_reads,
    was_interrupted,
    was_unread,
)
from dce_ray.version import VERSION
from dce_ray.words import masked

SWITCHES = {"on": True, "off": False}
PIECE = re.compile(r"(\w+):\s*([^\s:/]+)")
"""What a shell leaves of ``low:0.9`` between braces."""


def flatten(mapping: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Leaves of a nested mapping by dotted key; an empty mapping is a leaf."""
    leaves: dict[str, Any] = {}
    for key, value in mapping.items():
        if isinstance(value, Mapping) and value:
            leaves |= flatten(value, f"{prefix}{key}.")
        else:
            leaves[f"{prefix}{key}"] = value
    return leaves


def nest(values: Mapping[str, Any]) -> dict[str, Any]:
    """The nested mapping of dotted keys, the inverse of :func:`flatten`.

    >>> nest({"training.iterations": 300, "scs": False})
    {'training': {'iterations': 300}, 'scs': False}

    Raises:
        ConfigError: a key is given both as a group and by its members.
    """
    clash = [(key, above) for key in values for above in values if key.startswith(f"{above}.")]
    if clash:
        lines = [f"{key}={values[key]!r}: {above}={values[above]!r} is given as well; give one" for key, above in clash]
        raise ConfigError("\n".join(lines))
    result: dict[str, Any] = {}
    for dotted, value in values.items():
        *path, last = dotted.split(".")
        node = result
        for part in path:
            node = node.setdefault(part, {})
        node[last] = value
    return result


def parse(
    arguments: Sequence[str], known: Callable[[], Iterable[str]] = tuple, several: Sequence[str] = ()
) -> dict[str, Any]:
    """Values by dotted key, in the order given; ``on`` and ``off`` are booleans.

    Args:
        arguments: of the command line.
        known: gives the dotted keys of the command, of which a wrongly written argument is told the nearest.
        several: keys that may be given several values, ``key=a,b``; their value is then a list.

    Raises:
        ConfigError: naming every argument that is not ``key=value``.
    """
    try:
        from hydra.core.override_parser.overrides_parser import OverridesParser
        from hydra.errors import HydraException
    except ModuleNotFoundError as absent:
        raise ConfigError(
            "the command line needs hydra-core: pip install hydra-core, or use dce_ray from Python"
        ) from absent
    if "=" in arguments:
        raise ConfigError(f"{masked(' '.join(arguments))!r}: write key=value without blanks round the =")
    parser = OverridesParser.create()
    values: dict[str, Any] = {}
    arguments, faults = _without_dashes(arguments, known)
    for argument in arguments:
        try:
            override = parser.parse_override(argument)
            if override.key_or_group in values:
                faults.append(_twice(override.key_or_group, arguments))
                continue
            if override.key_or_group in several and override.is_choice_sweep():
                values[override.key_or_group] = [getattr(one, "text", one) for one in override.value().list]
                continue
            if override.is_sweep_override() or override.is_add() or override.is_delete():
                faults.append(f"{masked(argument)!r}: write key=value, and a list as 'key=[a,b]'")
                continue
            value = override.value()
        except HydraException:
            faults.append(_unreadable(masked(argument)))
            continue
        values[override.key_or_group] = SWITCHES.get(value, value) if isinstance(value, str) else value
    if faults:
        raise ConfigError("\n".join(dict.fromkeys(faults)))
    return values


def _twice(key: str, arguments: Sequence[str]) -> str:
    """One line for a key that is given more than once; a shell makes several words of ``{low:0.9,high:0.5}``."""
    parts = [argument.partition("=")[2] for argument in arguments if argument.startswith(f"{key}=")]
    pieces = [PIECE.fullmatch(part) for part in parts]
    if not key.startswith("space.") or not all(pieces):
        return f"{key}=: is given twice; give it once"
    whole = ", ".join(f"{piece[1]}: {piece[2]}" for piece in pieces if piece)
    return (
        f"{key}=: is given {len(parts)} times ({', '.join(parts)}), which a shell makes of braces without quotes; "
        f"write '{key}={{{whole}}}'"
    )


def _without_dashes(arguments: Sequence[str], known: Callable[[], Iterable[str]]) -> tuple[list[str], list[str]]:
    """The arguments that may be ``key=value``, and a line for each that is written as other programs have it."""
    rest, faults, words = [], [], list(arguments)
    while words:
        word = words.pop(0)
        if not word.startswith("--") or word == "--":
            rest.append(word)
            continue
        key, equals, value = word[2:].partition("=")
        if not equals and words and not words[0].startswith("--") and "=" not in words[0]:
            value = words.pop(0)
            word = f"{word} {value}"
        key = key.replace("-", "_")
        names = our_words(key, known())
        faults.append(f"{word!r}: keys take no dashes; write {names[0] if names else key}={value or '<value>'}")
    return rest, faults


def _unreadable(argument: str) -> str:
    if "=~" in argument:
        home = argument.replace("=~", "=$HOME", 1)
        return f'{argument!r}: a shell makes nothing of ~ behind a =; write "{home}", or the folder in full'
    if "=" not in argument and "/" in argument:
        return f"{argument!r}: which key is it the value of? Write <key>={argument}; --help lists the keys"
    if "=" not in argument:
        return f"{argument!r}: is no key=value; write {argument.lstrip('-').replace('-', '_')}=<value>, or see --help"
    return f"{argument!r}: cannot be read as key=value; quote odd characters: \"key='odd (value)'\""


def apply(defaults: Mapping[str, Any], values: Mapping[str, Any], listed: str = LISTED) -> dict[str, Any]:
    """A copy of nested ``defaults`` with the ``values`` of dotted keys put in.

    Args:
        defaults: all keys that are known.
        values: by dotted key.
        listed: where the command lists its keys, for one that is unknown.

    Raises:
        ConfigError: naming every key that the defaults lack, each with the nearest known one.
    """
    result = deepcopy(dict(defaults))
    faults = []
    for dotted, value in values.items():
        *path, last = dotted.split(".")
        node: Any = result
        for part in path:
            node = node.get(part) if isinstance(node, dict) else None
        if not isinstance(node, dict) or last not in node:
            faults.append(unknown_key(dotted, flatten(defaults), listed))
        elif isinstance(node[last], dict) and node[last] and not isinstance(value, dict):
            faults.append(f"{dotted}={value!r}: is a group; set one of {', '.join(flatten({dotted: node[last]}))}")
        else:
            node[last] = value
    if faults:
        raise ConfigError("\n".join(faults))
    return result


def compose(defaults: Mapping[str, Any], arguments: Sequence[str]) -> dict[str, Any]:
    """Nested ``defaults`` with the ``key=value`` arguments put in.

    Raises:
        ConfigError: naming every argument that cannot be read or whose key is unknown.
    """
    return apply(defaults, parse(arguments, lambda: flatten(defaults)))


DONE, UNFORESEEN, MISTAKE = 0, 1, 2
"""Exit statuses of every command, beside ``INTERRUPTED``: all was done; a fault that nobody foresaw, with traceback;
a mistake in what was asked, or a fault of the machine that the message tells how to mend."""
UNREAD = 128 + signal.SIGPIPE
"""What read the output went before its end: what a shell says of a program that this signal ends."""


def command(main: Callable[[list[str]], int | None], usage: str) -> NoReturn:
    """Run a command and end the process: the body of every ``if __name__ == "__main__"``."""
    imported()
    _stand_in_for_closed()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("matplotlib.font_manager").setLevel(logging.WARNING)  # its first import tells of its own cache
    end_by_sigterm_too()
    at_once = False

    def watched(arguments: list[str]) -> int | None:
        nonlocal at_once
        try:
            return main(arguments)
        except KeyboardInterrupt as fault:
            at_once = ends_at_once(fault)
            raise

    try:
        status = status_of(watched, usage, sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        if not (was_unread() or nobody_reads()):
            raise
    if was_unread():
        status = UNREAD
    if at_once:  # all of ours is in order, and a Ray that was left in the middle takes seconds to be taken down
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def _stand_in_for_closed() -> None:
    """Have all three standard descriptors, where who started us has closed some (``>&-``): else the next file that is
    opened gets the number of one, and with it whatever is written there."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


def status_of(main: Callable[[list[str]], int | None], usage: str, arguments: list[str]) -> int:
    """Run a command; its exit status.

    A user's mistake is one message on stderr, and so is Ctrl-C; ``--help`` prints ``usage``, ``--version`` the version.
    """
    if any(argument in {"--help", "-h", "help"} for argument in arguments):
        print(usage.strip())
        return DONE
    if arguments == ["--version"]:
        print(f"dce-ray {VERSION}")
        return DONE
    try:
        return main(arguments) or DONE
    except (Exception, KeyboardInterrupt) as fault:
        told = isinstance(fault, DceError)
        interrupted = came_after_one(fault) if told else was_interrupted(fault)
        if told:
            print(f"{type(fault).__name__}: {fault}", file=sys.stderr)
        elif not interrupted:
            raise  # with its traceback, also where Ctrl-C had come before
        if interrupted:
            print(f"interrupted{broken_line(fault)}", file=sys.stderr)
        return INTERRUPTED if interrupted else MISTAKE
