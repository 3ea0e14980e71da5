"""What every configuration record can do: check itself, and go to and from plain mappings.

``from_mapping`` and ``to_mapping`` speak nested dicts (what YAML, JSON and Ray carry) with the user's names:
the field ``lambda_`` is the key ``lambda``. Faults are collected, so that one message names them all.

There are two kinds of rules. What no record may break is in :meth:`Config.faults`. What is refused of a user who asks
for it anew, although folders hold it that were written before there was the rule, is in :meth:`Config.refusals`: such a
folder is read with ``kept=True`` and gone on with. A rule that is added to a field that folders hold
belongs there.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field
from typing import Any, Self

from dce_ray.errors import ConfigError, unknown_name
from dce_ray.former import unknown_key
from dce_ray.words import written

TYPE_WORDS: Mapping[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "on or off",
    str: "a text",
    type(None): "null",
}
"""Types of fields as users speak of them."""
LIST_WORDS: Mapping[Any, str] = {float: "a list of numbers such as [0.3,0.5]", str: "a list of names such as [a,b]"}
"""The same of lists, by what is in them."""


def number(
    default: Any,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    kept: tuple[float, float] | None = None,
    null: str = "",
    decides: bool = True,
) -> Any:
    """A field whose value must lie in [low, high].

    Args:
        default: its value where none is given.
        low: smallest value.
        high: largest value.
        kept: smallest and largest value that folders may hold; None: the same.
        null: what None means, for the message that refuses a number, such as ``for no second stage``.
        decides: see :func:`place`.
    """
    bounds = {"low": low, "high": high, "kept": kept or (low, high)}
    return field(default=default, metadata={**bounds, "null": null, "decides": decides})


def choice(default: str, *names: str, decides: bool = True) -> Any:
    """A field whose value must be one of ``names``; for ``decides`` see :func:`place`."""
    return field(default=default, metadata={"choices": names, "decides": decides})


def place(default: Any = MISSING) -> Any:
    """A field that says where or how fast something is computed, and not what: runs that differ in such fields alone
    are the same run."""
    return field(default=default, metadata={"decides": False})


def text(default: str | None, form: str) -> Any:
    """A field that holds a text, for whose wrong type ``form`` is told.

    Args:
        default: its value where none is given.
        form: what is to be written, such as ``a duration with units, such as 90m``.
    """
    return field(default=default, metadata={"form": form})


def key_of(name: str) -> str:
    """The user's key of a field: ``lambda_`` is ``lambda``."""
    return name.rstrip("_")


def places(kind: type[Config], prefix: str = "") -> frozenset[str]:
    """The user's dotted keys of all fields that decide nothing, those of groups included.

    Args:
        kind: a configuration record.
        prefix: of the keys, such as ``training.``.
    """
    found: set[str] = set()
    hints = typing.get_type_hints(kind)
    for item in dataclasses.fields(kind):
        key, hint = f"{prefix}{key_of(item.name)}", hints[item.name]
        if not item.metadata.get("decides", True):
            found.add(key)
        elif isinstance(hint, type) and issubclass(hint, Config):
            found |= places(hint, f"{key}.")
    return frozenset(found)


@dataclass(frozen=True, slots=True)
class Config:
    """Base of all configuration records: checks types and ranges, converts to and from mappings."""

    def __post_init__(self) -> None:
        faults = self.faults()
        if faults:
            raise ConfigError("\n".join(faults))

    def faults(self) -> list[str]:
        """Every rule this record breaks that none may break, one line each; empty where it is sound."""
        hints = typing.get_type_hints(type(self))
        lines = []
        for item in dataclasses.fields(self):
            value, name = getattr(self, item.name), key_of(item.name)
            wrong = _type_fault(value, hints[item.name])
            if wrong:
                form = item.metadata.get("form")
                lines.append(f"{name}={value!r}: {f'write {form}' if form else wrong}")
                continue
            choices = item.metadata.get("choices")
            if choices and value not in choices:
                lines.append(unknown_name(name, str(value), choices))
            lines += self._outside(item, *item.metadata.get("kept", (-math.inf, math.inf)))
        return lines

    def refusals(self) -> list[str]:
        """What is refused of this record where a user asks for it, one line each; only for a record without faults."""
        ranges = [item for item in dataclasses.fields(self) if "low" in item.metadata]
        return [line for item in ranges for line in self._outside(item, item.metadata["low"], item.metadata["high"])]

    def refuse(self, where: str = "") -> None:
        """Refuse what a user may not ask for, here and in all groups.

        Args:
            where: prefix of the keys in messages.

        Raises:
            ConfigError: naming all of it.
        """
        if lines := self._refused(where):
            raise ConfigError("\n".join(lines))

    def _refused(self, where: str) -> list[str]:
        lines = [f"{where}{line}" for line in self.refusals()]
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            if isinstance(value, Config):
                lines += value._refused(f"{where}{key_of(item.name)}.")
        return lines

    def _outside(self, item: dataclasses.Field[Any], low: float, high: float) -> list[str]:
        """The line on a number outside [low, high]; none where it is inside, or no number."""
        value = getattr(self, item.name)
        if not isinstance(value, int | float) or low <= value <= high:
            return []
        told, hint = (
            range_text(item.metadata["low"], item.metadata["high"]),
            typing.get_type_hints(type(self))[item.name],
        )
        return [f"{key_of(item.name)}={value!r}: {told}{_null_text(item, hint)}"]

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any], where: str = "", *, kept: bool = False) -> Self:
        """Build from a nested mapping with the user's keys.

        Args:
            mapping: values by key; keys that are absent keep their default.
            where: prefix of the keys in messages, such as ``method.``.
            kept: whether a folder or a checkpoint holds it, which was accepted when it was written; see
                :meth:`refusals`.

        Raises:
            ConfigError: naming every unknown key (with the nearest known one), wrong type and value out of range.
        """
        hints = typing.get_type_hints(cls)
        by_key = {key_of(item.name): item for item in dataclasses.fields(cls)}
        values: dict[str, Any] = {}
        lines: list[str] = []
        for key, value in mapping.items():
            if key not in by_key:
                lines.append(unknown_key(f"{where}{key}", [f"{where}{known}" for known in by_key]))
                continue
            name = by_key[key].name
            try:
                values[name] = _coerce(value, hints[name], f"{where}{key}.", kept=kept)
            except ConfigError as fault:
                lines.append(str(fault))
        for key, item in by_key.items():
            if item.default is MISSING and item.default_factory is MISSING and key not in mapping:
                lines.append(f"{where}{key}: missing; it has no default")
        if not lines:
            try:
                record = cls(**values)
                own = [] if kept else record.refusals()
                if not own:
                    return record
                lines = [f"{where}{line}" for line in own]
            except ConfigError as fault:
                lines = [line if line.startswith("unknown") else f"{where}{line}" for line in fault.args[0].split("\n")]
        raise ConfigError("\n".join(lines))

    def to_mapping(self) -> dict[str, Any]:
        """Plain nested dict with the user's keys: what YAML, JSON, Ray and checkpoints carry."""
        return {key_of(item.name): _plain(getattr(self, item.name)) for item in dataclasses.fields(self)}

    def replace(self, **changes: Any) -> Self:
        """A copy with other values, checked like any other."""
        return dataclasses.replace(self, **changes)


def range_text(low: float, high: float) -> str:
    """The rule of a number's range."""
    if math.isinf(high):
        return f"must be {written(low)} or more"
    if math.isinf(low):
        return f"must be {written(high)} or less"
    return f"must lie between {written(low)} and {written(high)}"


def _null_text(item: dataclasses.Field[Any], hint: Any) -> str:
    """That a field may be without a value, where it may."""
    if type(None) not in typing.get_args(hint):
        return ""
    meaning = item.metadata.get("null")
    return f", or be null{f' {meaning}' if meaning else ''}"


def _plain(value: Any) -> Any:
    if isinstance(value, Config):
        return value.to_mapping()
    return list(value) if isinstance(value, tuple) else value


def _coerce(value: Any, hint: Any, where: str, *, kept: bool) -> Any:
    """What YAML and the command line leave open: nested mappings, lists for tuples, whole numbers for floats."""
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    for option in options:
        if isinstance(option, type) and issubclass(option, Config) and isinstance(value, Mapping):
            return option.from_mapping(value, where, kept=kept)
        if typing.get_origin(option) is tuple and isinstance(value, list | tuple):
            inner = typing.get_args(option)[0]
            return tuple(_coerce(item, inner, where, kept=kept) for item in value)
    if float in options and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value


def _type_fault(value: Any, hint: Any) -> str | None:
    """Why ``value`` is not of type ``hint``, or None where it is."""
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    for option in options:
        if typing.get_origin(option) is tuple:
            inner = typing.get_args(option)[0]
            if isinstance(value, tuple) and all(_type_fault(item, inner) is None for item in value):
                return None
        elif option is float:
            if isinstance(value, float | int) and not isinstance(value, bool) and not math.isnan(value):
                return None
        elif option is int:
            if isinstance(value, int) and not isinstance(value, bool):
                return None
        elif isinstance(value, option):
            return None
    whole = int in options and isinstance(value, float) and value.is_integer()
    written_so = f", written {written(value)}" if whole else ""
    return f"must be {' or '.join(_type_words(option) for option in options)}{written_so}"


def _type_words(kind: Any) -> str:
    """A type as users speak of it."""
    if typing.get_origin(kind) is tuple:
        inner = typing.get_args(kind)[0]
        return LIST_WORDS[inner]
    return TYPE_WORDS.get(kind, "a group of keys")
