"""The mAP table: one record, and its printed forms.

Values are fractions in [0, 1]; every printed form shows percent. Shapes: K tIoU thresholds, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dce_ray import grids
from dce_ray.errors import EvaluationError
from dce_ray.evaluation.checks import check_thresholds
from dce_ray.evaluation.detection import mean_ap
from dce_ray.files import write_atomically, write_json

Real = NDArray[np.float64]

FORMAT = "dce-ray mAP table"
VERSION = 1
TABLE_ENDINGS = (".json", ".md", ".csv", ".tex")
"""Forms that :meth:`MapTable.write` knows."""


@dataclass(frozen=True, slots=True, eq=False)
class MapTable:
    """What an evaluation says; build it with :func:`map_table`.

    >>> class_ap = np.array([[0.50, 0.30], [0.25, 0.15]])  # 2 thresholds, 2 classes
    >>> names = ("jump", "dive")
    >>> table = map_table(
    ...     class_ap, thresholds=(0.3, 0.5), averages=("0.3:0.5",), class_names=names, videos=4, instances=9
    ... )
    >>> print(table)
           0.3    0.5  avg 0.3:0.5
    ---  -----  -----  -----------
    mAP  40.00  20.00        30.00
    mAP in % over tIoU; 4 videos, 9 instances
    >>> round(table.ranking, 6), MapTable.from_mapping(table.to_mapping()) == table
    (0.3, True)
    """

    thresholds: tuple[float, ...]
    """tIoU thresholds, K; none where no temporal label was read: there is the classification mAP alone."""
    map: Real
    """Mean over the classes that have instances, ``(K,)``, in [0, 1]."""
    averages: Mapping[str, float]
    """By ``first:last``: mean of ``map`` over the thresholds from first to last; the last one ranks."""
    class_ap: Real
    """``(K, C)`` in [0, 1]; NaN where a class has no instance."""
    class_names: tuple[str, ...]
    classification_map: float
    """Mean average precision of the video-level classes, in [0, 1]; NaN where it was not measured."""
    videos: int
    """Videos whose instances count."""
    instances: int | None
    """Annotated instances; None where they were not read."""
    caption: str = ""

    @property
    def ranking(self) -> float:
        """The average by which runs are compared: the last one, in [0, 1].

        Raises:
            EvaluationError: the table has no detection mAP.
        """
        if not self.averages:
            raise EvaluationError(
                "no detection mAP: no temporal label was read (metric=classification); rank by classification_map"
            )
        return list(self.averages.values())[-1]

    def score(self, metric: str) -> float:
        """What selection ranks by, in [0, 1]: :attr:`ranking` for ``detection``, else the classification mAP."""
        return self.ranking if metric == "detection" else self.classification_map

    def metrics(self) -> dict[str, float]:
        """Values by metric name, in [0, 1]: ``mAP/0.5``, ``mAP/avg_0.1:0.7``, ``mAP/classification`` if measured."""
        values = {f"mAP/{tiou:g}": float(value) for tiou, value in zip(self.thresholds, self.map, strict=True)}
        values |= {f"mAP/avg_{name}": value for name, value in self.averages.items()}
        if not math.isnan(self.classification_map):
            values["mAP/classification"] = self.classification_map
        return values

    def rows(self, per_class: bool = False) -> tuple[list[str], list[list[str]]]:
        """Header and cells of the printed table in percent: mAP per threshold and averages, then classes if asked."""
        header = [*(f"{tiou:g}" for tiou in self.thresholds), *(f"avg {name}" for name in self.averages)]
        return ["", *(header or ["classification"])], [
            [name, *map(_percent, values)] for name, values in self._lines(per_class)
        ]

    def _lines(self, per_class: bool) -> list[tuple[str, list[float]]]:
        """Name and fractions of each line."""
        if not self.thresholds:
            return [("mAP", [self.classification_map])]
        lines = [("mAP", [*self.map.tolist(), *self.averages.values()])]
        if per_class:
            spans = [span_of(self.thresholds, name) for name in self.averages]
            for name, ap_K in zip(self.class_names, self.class_ap.T, strict=True):
                lines.append((name, [*ap_K.tolist(), *(float(ap_K[span].mean()) for span in spans)]))
        return lines

    def notes(self) -> str:
        """Size of the data and classification mAP, one line."""
        if not self.thresholds:
            return f"mAP in % of the video-level classes; {self.videos} videos, no temporal label was read"
        measured = "" if math.isnan(self.classification_map) else f"; classification mAP {self.classification_map:.2%}"
        missing = int(np.isnan(self.class_ap[0]).sum())
        absent = f"; {missing} of {len(self.class_names)} classes have no instance and are not averaged"
        size = f"{self.videos} videos, {self.instances} instances"
        return f"mAP in % over tIoU; {size}{measured}{absent if missing else ''}"

    def text(self, per_class: bool = False) -> str:
        """The table for a terminal."""
        caption = [self.caption] if self.caption else []
        return "\n".join([*caption, grids.aligned_text(*self.rows(per_class)), self.notes()])

    def __str__(self) -> str:
        return self.text()

    def markdown(self, per_class: bool = False) -> str:
        """The table in Markdown, with caption and notes."""
        caption = [f"**{self.caption}**", ""] if self.caption else []
        return "\n".join([*caption, grids.markdown(*self.rows(per_class)), "", self.notes(), ""])

    def csv(self, per_class: bool = True) -> str:
        """The table as CSV: fractions in full precision, an empty cell where a class has no instance."""
        header, _ = self.rows()
        cells = [
            [name, *("" if math.isnan(value) else repr(value) for value in line)]
            for name, line in self._lines(per_class)
        ]
        return grids.comma_separated(["class", *header[1:]], cells)

    def latex(self, per_class: bool = False) -> str:
        """The table as a LaTeX ``table`` (booktabs), in percent."""
        return grids.latex(*self.rows(per_class), caption=" ".join(filter(None, [self.caption, self.notes()])))

    def write(self, path: Path, per_class: bool | None = None) -> None:
        """Write the table in the form that the ending of ``path`` names, one of :data:`TABLE_ENDINGS`.

        Args:
            path: replaced as a whole; its folder is made.
            per_class: whether a line per class follows; None: in CSV alone. JSON always holds all.

        Raises:
            OutputError: the disk is full or not writable.
        """
        chosen = {} if per_class is None else {"per_class": per_class}
        if path.suffix == ".json":
            write_json(path, self.to_mapping())
        else:
            form = {".md": self.markdown, ".csv": self.csv, ".tex": self.latex}[path.suffix]
            write_atomically(path, form(**chosen))

    def to_mapping(self) -> dict[str, Any]:
        """Plain values for JSON, without loss: NaN becomes None, floats keep every digit."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "thresholds": list(self.thresholds),
            "map": self.map.tolist(),
            "averages": dict(self.averages),
            "class_ap": [[_plain(value) for value in row] for row in self.class_ap.tolist()],
            "class_names": list(self.class_names),
            "classification_map": _plain(self.classification_map),
            "videos": self.videos,
            "instances": self.instances,
            "caption": self.caption,
        }

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> MapTable:
        """The table that :meth:`to_mapping` wrote.

        Raises:
            EvaluationError: for another format or version, or values that are missing.
        """
        missing = sorted({item.name for item in fields(cls)} - set(mapping))
        if mapping.get("format") != FORMAT or mapping.get("version") != VERSION or missing:
            raise EvaluationError(
                f"not a {FORMAT} of version {VERSION}: format {mapping.get('format')!r}, version "
                f"{mapping.get('version')!r}, missing {', '.join(missing) or 'nothing'}; use what wrote it"
            )
        return cls(
            thresholds=tuple(mapping["thresholds"]),
            map=np.array(mapping["map"], np.float64),
            averages=dict(mapping["averages"]),
            class_ap=np.array(mapping["class_ap"], np.float64).reshape(
                len(mapping["thresholds"]), len(mapping["class_names"])
            ),
            class_names=tuple(mapping["class_names"]),
            classification_map=math.nan if mapping["classification_map"] is None else mapping["classification_map"],
            videos=mapping["videos"],
            instances=mapping["instances"],
            caption=mapping["caption"],
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MapTable) and self.to_mapping() == other.to_mapping()

    __hash__ = None  # type: ignore[assignment]


def map_table(
    class_ap: Real,
    *,
    thresholds: Sequence[float],
    averages: Sequence[str],
    class_names: Sequence[str],
    videos: int,
    instances: int,
    classification_map: float = math.nan,
    caption: str = "",
) -> MapTable:
    """Make the table of per-class average precisions.

    Args:
        class_ap: ``(K, C)`` from :func:`dce_ray.evaluation.detection.detection_ap`.
        thresholds: K tIoU thresholds.
        averages: names ``first:last`` of averages over thresholds, the ranking one last.
        class_names: C names.
        videos: videos whose instances count.
        instances: annotated instances.
        classification_map: in [0, 1]; NaN where it was not measured.
        caption: what the table is of.

    Raises:
        EvaluationError: no class has an instance, or an average that holds no threshold.
    """
    levels = tuple(check_thresholds(thresholds).tolist())
    means = mean_ap(class_ap)
    if not averages:
        raise EvaluationError(f"no averages: name at least one first:last of the thresholds {list(levels)}; it ranks")
    return MapTable(
        thresholds=levels,
        map=means,
        averages={name: float(means[span_of(levels, name)].mean()) for name in averages},
        class_ap=class_ap,
        class_names=tuple(class_names),
        classification_map=float(classification_map),
        videos=videos,
        instances=instances,
        caption=caption,
    )


def classification_table(
    classification_map: float, *, class_names: Sequence[str], videos: int, caption: str = ""
) -> MapTable:
    """Make the table of an evaluation that read no temporal label.

    >>> print(classification_table(0.625, class_names=("jump", "dive"), videos=4))
         classification
    ---  --------------
    mAP           62.50
    mAP in % of the video-level classes; 4 videos, no temporal label was read

    Args:
        classification_map: in [0, 1]; NaN where no video carries a class.
        class_names: C names.
        videos: videos whose classes count.
        caption: what the table is of.
    """
    nothing = np.zeros((0, len(class_names)))
    by_class = float(classification_map)
    return MapTable((), nothing[:, 0], {}, nothing, tuple(class_names), by_class, videos, None, caption)


def span_of(thresholds: Sequence[float], name: str) -> NDArray[np.int64]:
    """Positions of the thresholds from ``first`` to ``last``, both included.

    Raises:
        EvaluationError: when the name is not ``first:last`` with both of them thresholds of the table.
    """
    levels = np.asarray(thresholds)
    try:
        first, last = (float(part) for part in name.split(":"))
    except ValueError:
        first = last = math.nan
    inside = np.flatnonzero((levels > first - 1e-9) & (levels < last + 1e-9))
    ends = [np.isclose(levels, end, rtol=0, atol=1e-9).any() for end in (first, last)]
    if not len(inside) or not all(ends):
        raise EvaluationError(f"average {name!r}: write first:last, both of them thresholds of {levels.tolist()}")
    return inside


def _percent(value: float) -> str:
    """A fraction in percent with two digits; ``-`` where there is none."""
    return "-" if math.isnan(value) else f"{100 * value:.2f}"


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
