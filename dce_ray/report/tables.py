"""Tables of reports: rows of printed and measured numbers that never lose their label.

A cell is an :class:`~dce_ray.verdict.statistics.Estimate` in percent; a cell that is absent is missing and is shown as
such. Printed rows say ``printed``, measured rows say ``measured`` and their number of seeds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from dce_ray.experiment.candidate import WINNER
from dce_ray.experiment.record import PLAIN, PLAIN_LABEL, origin_label
from dce_ray.report.labels import SEARCHED_LABEL, baseline_title, data_title, in_order
from dce_ray.report.measured import Measured
from dce_ray.report.published import TABLE_5, PrintedTable, printed_comparison, printed_table
from dce_ray.verdict.statistics import Estimate

PRINTED, MEASURED = "printed", "measured"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table."""

    group: str
    """What the line belongs to, such as ``DELU``; equal groups stand together."""
    label: str
    """What the line is, such as ``plain baseline``."""
    source: str
    """``printed`` in the paper or ``measured`` here."""
    cells: Mapping[str, Estimate]
    """In percent, by column; absent is missing."""
    seeds: int | None = None
    """Seeds (or what the table's ``counted`` says) behind a measured line; None for printed ones, which do not say."""
    difference: bool = False
    """Whether the cells are differences (shown with their sign)."""


@dataclass(frozen=True, slots=True)
class Table:
    """A whole table."""

    name: str
    """Of the file and of the LaTeX label."""
    caption: str
    columns: tuple[str, ...]
    """``mAP@<tIoU>`` and ``avg_<first>_<last>``."""
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    """Below the table: what is missing and why, how selection was supervised."""
    counted: str = "seeds"
    """What the number of a measured line counts."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Plain baseline and winner of one experiment."""

    baseline: str
    name: str
    """Of the experiment; shown where a baseline has several."""
    plain: Measured
    ours: Measured
    remark: str = ""
    """How the winner was chosen, such as ``selected on test`` (protocol=paper)."""


def comparison_table(data: str, data_set: str, experiments: Sequence[Comparison], *, wide: bool = False) -> Table:
    """Table 1 or 2: per baseline the printed lines, then the measured ones, each with its absolute improvement.

    Args:
        data: what the data set is called, such as ``thumos14``.
        data_set: name of its preset, which decides the printed numbers.
        experiments: what was measured; a baseline with printed numbers and no experiment gets missing lines.
        wide: also show measured columns that the paper does not print.
    """
    printed = printed_comparison(data_set)
    columns = printed.columns if printed else ()
    if wide or not printed:
        columns = _ordered([*columns, *(column for one in experiments for column in _columns_of(one))])
    names = [one.baseline for one in experiments] + [row.names["baseline"] for row in (printed.rows if printed else ())]
    rows: list[Row] = []
    for baseline in in_order(names):
        mine = [one for one in experiments if one.baseline == baseline]
        rows += _printed_rows(printed, baseline) if printed else []
        for one in mine or [Comparison(baseline, "", Measured(PLAIN, {}), Measured(WINNER, {}))]:
            rows += _measured_rows(one, several=len(mine) > 1)
    title = data_title(data)
    return Table(
        f"comparison_{data}",
        f"Baselines, plain and with SCS + MCM, on {title}: mAP in percent at temporal IoU thresholds, and averages.",
        columns,
        tuple(rows),
        tuple(_comparison_notes(title, printed, experiments)),
    )


def _columns_of(one: Comparison) -> list[str]:
    return [column for part in (one.plain, one.ours) for score in part.scores.values() for column in score]


def _printed_rows(printed: PrintedTable, baseline: str) -> list[Row]:
    group = baseline_title(baseline)
    labels = {"published": "as published", "reproduced": "reproduced by the paper", "scs+mcm": "+ SCS + MCM, the paper"}
    found = {variant: printed.row(baseline=baseline, variant=variant) for variant in labels}
    cells = {variant: _exact(row.numbers) if row else {} for variant, row in found.items()}
    rows = [Row(group, label, PRINTED, cells[variant]) for variant, label in labels.items()]
    ours, plain = cells["scs+mcm"], cells["reproduced"]
    gain = {column: round(ours[column].mean - plain[column].mean, 1) for column in ours if column in plain}
    return [*rows, Row(group, "absolute improvement, the paper", PRINTED, _exact(gain), difference=True)]


def _measured_rows(one: Comparison, several: bool) -> list[Row]:
    group = baseline_title(one.baseline)
    aside = "".join(f", {text}" for text in (one.name if several else "", one.remark) if text)
    gain, pairs = one.ours.gain(one.plain)
    return [
        Row(
            group,
            f"{PLAIN_LABEL}{', ' + one.name if several else ''}",
            MEASURED,
            described(one.plain.cells()),
            len(one.plain.scores),
        ),
        Row(group, f"{SEARCHED_LABEL}{aside}", MEASURED, described(one.ours.cells()), len(one.ours.scores)),
        Row(group, f"absolute improvement{aside}", MEASURED, described(gain), pairs, difference=True),
    ]


def _comparison_notes(title: str, printed: PrintedTable | None, experiments: Sequence[Comparison]) -> Iterable[str]:
    if printed:
        yield (
            "Lines marked printed are from the paper, which gives neither seeds nor intervals; its improvement is the "
            "difference of its printed numbers (reproduced baseline to SCS + MCM)."
        )
    else:
        yield f"The paper prints no numbers for {title}."
    measured = "Lines marked measured" if printed else "All lines are measured"
    yield (
        f"{measured}: mean over seeds of this project's runs, standard deviation in brackets (improvements "
        "are paired by seed); whether an improvement is one, the verdict of its search says."
    )
    for one in experiments:
        for part in (one.plain, one.ours):
            if len(part.scores) < part.planned:
                yield (
                    f"{baseline_title(one.baseline)} {one.name}, {part.name}: "
                    f"{len(part.scores)} of {part.planned} seeds finished."
                )
    if not experiments:
        yield "Nothing was measured yet: the measured lines are empty."


def described(cells: Mapping[str, Estimate]) -> dict[str, Estimate]:
    """The cells without intervals: what was not planned as a test only describes."""
    return {column: cell.described for column, cell in cells.items()}


PLANNED_ALONE = "± is half a 95 % interval and stands at the planned comparison alone; all else describes."
NONE_PLANNED = "No comparison was planned as a test, so there are no intervals: all of it describes."


def sweep_table(
    name: str,
    caption: str,
    settings: Sequence[Measured],
    plain: str | None,
    notes: Sequence[str] = (),
    *,
    planned: Mapping[str, Mapping[str, Estimate]] = MappingProxyType({}),
) -> Table:
    """One line per setting of an ablation, and its paired difference to the setting called ``plain``.

    >>> scores = {"baseline": 0.40, "scs": 0.42}
    >>> settings = [Measured(name, {0: {"mAP@0.5": score}}) for name, score in scores.items()]
    >>> table = sweep_table("components", "What was varied.", settings, "baseline")
    >>> [(row.group, row.label, round(row.cells["mAP@0.5"].mean, 6)) for row in table.rows]
    [('baseline', 'mAP', 40.0), ('scs', 'mAP', 42.0), ('scs', 'difference to baseline', 2.0)]

    Args:
        name: of the file.
        caption: what was varied, on which data and baseline.
        settings: in the order of the lines.
        plain: name of the setting that the others are compared with; None for no differences.
        notes: below the table.
        planned: differences that were planned as tests, by setting and column: these alone have intervals.
    """
    columns = _ordered(column for one in settings for score in one.scores.values() for column in score)
    reference = next((one for one in settings if one.name == plain), None)
    rows = []
    for one in settings:
        rows.append(Row(origin_label(one.name), "mAP", MEASURED, described(one.cells()), len(one.scores)))
        if reference is not None and one is not reference:
            gain, pairs = one.gain(reference)
            gain = described(gain) | (dict(planned.get(one.name, {})) if gain else {})
            rows.append(
                Row(origin_label(one.name), f"difference to {reference.name}", MEASURED, gain, pairs, difference=True)
            )
    short = [
        f"{origin_label(one.name)}: {len(one.scores)} of {one.planned} seeds finished."
        for one in settings
        if len(one.scores) < one.planned
    ]
    spread = "Mean over seeds, standard deviation in brackets; differences are paired by seed."
    spread += f" {PLANNED_ALONE if any(planned.values()) else NONE_PLANNED}"
    return Table(name, caption, columns, tuple(rows), (spread, *notes, *short))


def printed_strategies() -> list[Row]:
    """Table 5 of the paper (DDG-Net, THUMOS14), labelled as printed."""
    table = printed_table(TABLE_5)
    return [
        Row(row.names["strategy"], "mAP, the paper (DDG-Net, THUMOS14)", PRINTED, _exact(row.numbers))
        for row in table.rows
    ]


def _exact(numbers: Mapping[str, float]) -> dict[str, Estimate]:
    return {column: Estimate(number, None, None, 1) for column, number in numbers.items()}


def _ordered(columns: Iterable[str]) -> tuple[str, ...]:
    """Thresholds by number, then averages in the given order, whose last one ranks; each once."""
    once = dict.fromkeys(columns)
    thresholds = [column for column in once if column.startswith("mAP@")]
    averages = [column for column in once if not column.startswith("mAP@")]
    return (*sorted(thresholds, key=lambda column: float(column.removeprefix("mAP@"))), *averages)
