"""``keys``: what a command may be given, each key with its default, its choices or range, and what it means."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import math
import re
import shutil
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dce_ray.commandline import flatten, parse
from dce_ray.config_base import Config, key_of, range_text
from dce_ray.errors import ConfigError, nearest_names

SENTENCE_END = re.compile(r"(?<!Eq)\.(?= )")
NARROWEST, INDENT = 60, 6


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a command."""

    name: str
    """Dotted."""
    default: Any
    about: str = ""
    """Choices or range, then the meaning."""

    def text(self, width: int) -> str:
        """The key with its default, and below it what it is about, in lines of at most ``width``."""
        value = _written(self.default)
        about = textwrap.fill(self.about, width, initial_indent=" " * INDENT, subsequent_indent=" " * INDENT)
        return f"{self.name}={value}" + (f"\n{about}" if about else "")


def _written(value: Any) -> Any:
    """A default as it is typed."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return "..." if not _plain(value) else "" if value is None else value


def _plain(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str)


def keys_of(record: Config, prefix: str = "") -> Iterator[Key]:
    """All keys of a record and of the records in it, in the order of their fields.

    Args:
        record: its values are the defaults.
        prefix: of the keys, with its dot.
    """
    meanings = _meanings(type(record))
    for item in dataclasses.fields(record):
        value, name = getattr(record, item.name), f"{prefix}{key_of(item.name)}"
        if isinstance(value, Config):
            yield from keys_of(value, f"{name}.")
            continue
        low, high = item.metadata.get("low"), item.metadata.get("high")
        allowed = "|".join(item.metadata.get("choices", ())) or item.metadata.get("form", "")
        if low is not None and high is not None and not (math.isinf(low) and math.isinf(high)):  # else the meaning says
            allowed = range_text(low, high).removeprefix("must lie ").removeprefix("must be ")
        about = ". ".join(part for part in (allowed, meanings.get(item.name, "")) if part)
        yield Key(name, list(value) if isinstance(value, tuple) else value, about)


def _meanings(kind: type[Config]) -> dict[str, str]:
    """First sentence of the docstring below each field, of base classes too."""
    found: dict[str, str] = {}
    for each in reversed(kind.__mro__):
        if not (isinstance(each, type) and issubclass(each, Config)) or each is Config:
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(each))).body[0]
        assert isinstance(body, ast.ClassDef)
        for field, below in zip(body.body, body.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(below, ast.Expr):
                words = " ".join(str(ast.literal_eval(below.value)).replace("``", "").split())
                found[field.target.id] = SENTENCE_END.split(words)[0].rstrip(".") + "."
    return found


def keys_from(mapping: Mapping[str, Any], about: Mapping[str, str]) -> list[Key]:
    """Keys of a nested mapping of defaults.

    Args:
        mapping: of a command.
        about: what a key means, by its dotted name or by its group.
    """
    return [
        Key(name, value, about.get(name, about.get(name.partition(".")[0], "")))
        for name, value in flatten(mapping).items()
    ]


def chosen(arguments: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """What ``keys`` was given: ``baseline=`` and ``data=``, and words that the shown keys begin with or contain.

    Raises:
        ConfigError: for any other key.
    """
    values = parse([argument for argument in arguments if "=" in argument])
    wrong = [key for key in values if key not in ("baseline", "data", "preset")]
    if wrong:
        raise ConfigError(f"keys: takes baseline=, data=, preset= and words to look for, found {', '.join(wrong)}=")
    return values, [argument for argument in arguments if "=" not in argument]


def listing(keys: Sequence[Key], words: Sequence[str]) -> str:
    """The keys that contain one of ``words`` (all, without any), one below the other.

    Raises:
        ConfigError: there is none.
    """
    found = [key for key in keys if not words or any(word in key.name for word in words)]
    if not found:
        near = nearest_names(words[0], [key.name for key in keys], 3)
        raise ConfigError(f"keys: none contains {' or '.join(words)}" + (f"; near: {', '.join(near)}" if near else ""))
    width = max(NARROWEST, min(120, shutil.get_terminal_size((120, 24)).columns))
    return "\n".join(key.text(width) for key in found)
