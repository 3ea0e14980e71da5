"""What an experiment's ``config.json`` says, as a mapping that tells which key it lacks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dce_ray.errors import SearchError


class Asked(dict[str, Any]):
    """What ``config.json`` holds: a key that it lacks is told with its file, wherever it is asked for."""

    where = ""

    @classmethod
    def of(cls, mapping: Mapping[str, Any], path: Path, group: str = "") -> Asked:
        """The same for all groups of a mapping.

        Args:
            mapping: content of ``path``, or a group of it.
            path: the file.
            group: dotted key of the group with its dot; empty for the whole.
        """
        inner = {
            key: cls.of(one, path, f"{group}{key}.") if isinstance(one, dict) else one for key, one in mapping.items()
        }
        asked = cls(inner)
        asked.where = f"{path}: lacks {group}"
        return asked

    def __missing__(self, key: str) -> Any:
        raise SearchError(
            f"{self.where}{key}; the file was changed, or an earlier state of this version wrote it: put the key back "
            f"(a new search with the same arguments shows its form), or start a new search"
        )
