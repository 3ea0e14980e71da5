"""Files of this machine that a search names: their content goes with the job, since its nodes have another disk.

These are ``space=<file>`` and the paths among first points, on the command line and in that file. On the head they lie
below ``folder=`` in ``submitted/<job>/``, each in a folder called like its own: that names a point (``best-of-...``).
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dce_ray.cluster.entry import FILES
from dce_ray.commandline import parse
from dce_ray.errors import ConfigError
from dce_ray.files import parse_yaml
from dce_ray.search.space import is_path
from dce_ray.words import argument

SPACE, POINTS = "space", "space.first_points"
MOST_BYTES = 100_000
"""All files together, quoted for a shell: Linux takes no argument of 128 KiB or more."""


def with_own_files(arguments: Sequence[str], job: str) -> list[str]:
    """The arguments of a search as they hold on the head, behind one that has the content of the files.

    Args:
        arguments: checked, with paths of this machine.
        job: name of the job.

    Raises:
        ConfigError: a file cannot be read, or they are too large together.
    """
    brought = _Brought(f"submitted/{job}")
    values = parse([word for word in arguments if word.partition("=")[0] in (SPACE, POINTS)])
    changed = {}
    if SPACE in values:
        changed[SPACE] = argument(SPACE, brought.space(str(values[SPACE])), pasted=False)
    if POINTS in values:
        points = brought.points(values[POINTS])
        many = isinstance(points, list)
        quoted = [argument(POINTS, point, pasted=False).partition("=")[2] for point in (points if many else [points])]
        changed[POINTS] = f"{POINTS}=[{','.join(quoted)}]" if many else f"{POINTS}={quoted[0]}"
    if not brought.files:
        return list(arguments)
    word = f"{FILES}{json.dumps(brought.files)}"
    if len(shlex.quote(word).encode()) > MOST_BYTES:
        raise ConfigError(
            f"{', '.join(brought.sources)}: too large together to go with a job, which takes {MOST_BYTES // 1000} kB; "
            f"shorten them, or give what they say as space.<key>=..."
        )
    return [word, *(changed.get(one.partition("=")[0], one) for one in arguments)]


class _Brought:
    """Files that go along.

    Args:
        place: folder on the head in which they will lie.
    """

    def __init__(self, place: str) -> None:
        self.place = place
        self.files: dict[str, str] = {}
        """Content by path on the head."""
        self.sources: list[str] = []

    def space(self, path: str) -> str:
        """Bring a file of the search space, with the points that it names; its path on the head."""
        text = self._read(path, SPACE)
        content = parse_yaml(text)
        sections = [content, *content.values()] if isinstance(content, dict) else []
        named = [section for section in sections if isinstance(section, dict) and "first_points" in section]
        before = len(self.files)
        for section in named:
            section["first_points"] = self.points(section["first_points"])
        if len(self.files) > before:
            import yaml

            text = yaml.safe_dump(content, sort_keys=False)
        return self._keep(path, text)

    def points(self, given: Any) -> Any:
        """Bring those of some first points that are files: the same points as the head has them."""
        if isinstance(given, list | tuple):
            return [self.points(point) for point in given]
        return self._keep(given, self._read(given, POINTS)) if isinstance(given, str) and is_path(given) else given

    def _keep(self, path: str, text: str) -> str:
        whole = Path(path).expanduser().resolve()
        name = f"{self.place}/{len(self.files)}/{whole.parent.name}/{whole.name}"
        self.files[name] = text
        self.sources.append(path)
        return name

    def _read(self, path: str, key: str) -> str:
        try:
            return Path(path).expanduser().read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as fault:
            raise ConfigError(f"{key}: {path}: cannot be read ({fault}); give a file of this machine") from fault
