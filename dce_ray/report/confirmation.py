"""The confirmation's result: tables over seeds on test, paired differences to the plain baseline, best.yaml."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import yaml

from dce_ray.experiment.candidate import WINNER, Candidate
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.experiment.record import PLAIN, decisive, origin_label
from dce_ray.files import read_json, write_atomically, write_json
from dce_ray.grids import markdown_line
from dce_ray.report.captions import confirmation_caption, published_note, selection_text, test_text
from dce_ray.report.measured import Measured, gather, ranking_column
from dce_ray.report.rendering import comma_separated, latex, markdown
from dce_ray.report.tables import Table, described, sweep_table
from dce_ray.verdict.judge import judge
from dce_ray.verdict.statistics import Estimate
from dce_ray.verdict.stein import identity_of
from dce_ray.verdict.text import ANEW
from dce_ray.verdict.verdict import UNCONFIRMED, Verdict
from dce_ray.words import portable_command, runnable


def write_confirmation(folder: ExperimentFolder, candidates: Sequence[Candidate]) -> str:
    """Write confirmation.json, .md, .csv and .tex from the runs in ``confirm/``; the Markdown text without the verdict.

    The winner is the first candidate: the best on the selecting split, whatever test says. With ``confirm.seeds=0``
    there is confirmation.json alone, which says that nothing was confirmed; a result that was there before stands.

    Raises:
        OutputError: the disk is full or not writable.
    """
    config = folder.config
    if config["confirm"]["seeds"] == 0:
        known = Verdict.read(folder)
        if known is None or known.outcome == UNCONFIRMED:
            table = settings_table(folder, [], None, notes(config, candidates, confirmed=False))
            content = confirmation_mapping(config, candidates, [], table, judge(folder, candidates))
            write_json(folder.confirmation, content)
        return "No confirmation was asked for (confirm.seeds=0)."
    measured, verdict = _measured(folder, candidates), judge(folder, candidates)
    table = settings_table(folder, measured, verdict, notes(config, candidates))
    text = "\n".join([markdown(table), "", candidate_lines(candidates, measured, verdict, config["metric"])])
    write_json(folder.confirmation, confirmation_mapping(config, candidates, measured, table, verdict))
    write_atomically(folder.confirmation.with_suffix(".md"), f"{text}\n{verdict_markdown(verdict)}\n")
    write_atomically(folder.confirmation.with_suffix(".csv"), comma_separated(table))
    write_atomically(folder.confirmation.with_suffix(".tex"), latex(table))
    return text


def looks_at(search: ExperimentFolder) -> list[ExperimentFolder]:
    """The confirmations of a search that were made anew, in their order: they lie beside it."""
    found = []
    for path in search.path.parent.glob(f"{search.path.name}-confirm-*/config.json"):
        folder = ExperimentFolder(path.parent)
        if folder.config.get("kind") == ANEW:
            found.append(folder)
    return sorted(found, key=lambda folder: int(folder.config["look"]))


def chosen_identity(search: ExperimentFolder) -> str | None:
    """Names the best setting and the plain baseline that a search's confirmation has now; None before it has both."""
    if not search.confirmation.is_file():
        return None
    content = read_json(search.confirmation)
    found = [Candidate.from_mapping(entry) for entry in content.get("configurations", ())]
    winner = next((one for one in found if one.setting == content.get("winner")), None)
    plain = next((one for one in found if one.plain), None)
    return identity_of(winner, plain) if winner and plain else None


def verdict_markdown(verdict: Verdict) -> str:
    """The verdict in Markdown: its sentence, a list of what else is to be known, the command."""
    items = [verdict.sentence, "", *(f"- {line}" for line in verdict.details)]
    return "\n".join([*items, "", "```", verdict.written_command, "```"] if verdict.command else items)


def confirmation_table(folder: ExperimentFolder, candidates: Sequence[Candidate]) -> Table:
    """Every candidate's mAP on test over the seeds, and its paired difference to the plain baseline, in percent."""
    return settings_table(folder, _measured(folder, candidates), Verdict.read(folder), notes(folder.config, candidates))


def settings_table(
    folder: ExperimentFolder, settings: Sequence[Measured], verdict: Verdict | None, notes: Sequence[str] = ()
) -> Table:
    """The table of a confirmation, as its files and the search's page show it.

    Args:
        folder: of the confirmation.
        settings: in the order of the lines.
        verdict: whose planned comparison gets its interval; None before there is one.
        notes: below the table, before what published scalars are; the page, which knows no candidates, has none.
    """
    planned: dict[str, dict[str, Estimate]] = {}
    if verdict is not None and verdict.planned_comparison is not None:
        planned = {WINNER: {ranking_column(settings): verdict.planned_comparison}}
    counts = [one.planned for one in settings]
    notes = [*notes, *published_note(one.name for one in settings)]
    caption = confirmation_caption(folder.config, folder.data_name, counts)
    return sweep_table("confirmation", caption, settings, PLAIN, notes, planned=planned)


def _measured(folder: ExperimentFolder, candidates: Sequence[Candidate]) -> list[Measured]:
    """What was measured of the candidates; runs of an earlier choice lie in the folder as well and do not count."""
    chosen = {candidate.setting: candidate for candidate in candidates}
    runs = [(run, run.record()) for run in folder.confirmations()]
    return gather(
        (record.setting, run, record)
        for run, record in runs
        if record.setting in chosen
        and decisive(record.config) == decisive(chosen[record.setting].configuration(record.seed))
    )


def notes(config: Mapping[str, Any], candidates: Sequence[Candidate], *, confirmed: bool = True) -> list[str]:
    """Which supervision the selection used, whether test was read (``confirmed``), and what the names mean."""
    supervision = selection_text(config["protocol"], config["metric"])
    lines = [f"{supervision} {test_text(config, confirmed=confirmed)}".rstrip()]
    if candidates and not candidates[0].plain:
        winner, plain = candidates[0], next((candidate for candidate in candidates if candidate.plain), None)
        split = (
            "test, where it is measured too" if config["protocol"] == "paper" else "the selecting split, not on test"
        )
        how = "the highest mean of all points by the search's model" if winner.deviation is not None else "the best run"
        lines.append(f"{winner.setting} (point {winner.point}) was chosen: {how} on {split}.")
        if plain and plain.value > winner.value:
            lines.append(
                f"The plain baseline leads there: it scored higher ({100 * plain.value:.2f}) than {winner.setting} "
                f"({100 * winner.value:.2f})."
            )
    if not any(candidate.plain for candidate in candidates):
        lines.append("The plain baseline has no finished run on the selecting split, so no difference can be given.")
    return lines


def candidate_lines(
    candidates: Sequence[Candidate], measured: Sequence[Measured], verdict: Verdict, metric: str = "detection"
) -> str:
    """One line per candidate: where it comes from, what it was on the selecting split, test mean and deviation.

    Args:
        candidates: the winner first.
        measured: what their runs on test came to.
        verdict: whose planned comparison gets its interval.
        metric: what the selecting split ranked by; test is measured in detection mAP.
    """
    selecting, measured_in = ("selecting split", "test mean")
    if metric == "classification":  # two measures side by side are told apart
        selecting, measured_in = f"{selecting}, classification mAP", f"{measured_in}, detection mAP"
    header = ["", "from", "point", selecting, "iteration"]
    header += [measured_in, "standard deviation", "difference (planned: 95 %)"]
    lines = [markdown_line(header), "|" + "---|" * len(header)]
    by_name = {one.name: one for one in measured}
    for candidate in candidates:
        one = by_name.get(candidate.setting)
        value, gain = _ranking_average(one, by_name.get(PLAIN))
        if gain is not None and candidate is candidates[0]:
            gain = verdict.planned_comparison
        deviation = f"{value.deviation:.2f}" if value and value.deviation is not None else "-"
        point = "-" if candidate.point is None else str(candidate.point)
        cells = [origin_label(candidate.setting), origin_label(candidate.origin), point]
        cells += [f"{100 * candidate.value:.2f}", str(candidate.iteration)]
        cells += [f"{value.mean:.2f}" if value else "-", deviation, _difference_text(gain)]
        lines.append(markdown_line(cells))
    what = "Averages over the ranking thresholds, in percent."
    if metric == "classification":
        what = "All in percent; detection mAP is the average over the ranking thresholds."
    return "\n".join([*lines, "", what, ""])


def _difference_text(gain: Estimate | None) -> str:
    if gain is None:
        return "-"
    return f"{gain.mean:+.2f}" if gain.low is None else f"{gain.mean:+.2f} [{gain.low:+.2f}, {gain.high:+.2f}]"


def _ranking_average(one: Measured | None, plain: Measured | None) -> tuple[Estimate | None, Estimate | None]:
    """Mean of the ranking average and its paired difference to the plain baseline, in percent."""
    cells = one.cells() if one else {}
    if not one or not cells:
        return None, None
    column = list(cells)[-1]
    gain = one.gain(plain)[0].get(column) if plain and plain is not one else None
    return cells[column], gain and gain.described


def confirmation_mapping(
    config: Mapping[str, Any],
    candidates: Sequence[Candidate],
    measured: Sequence[Measured],
    table: Table,
    verdict: Verdict,
) -> dict[str, Any]:
    """The content of confirmation.json; fractions in ``scores`` and ``value``, percent in the estimates."""
    by_name = {one.name: one for one in measured}
    plain = by_name.get(PLAIN)
    entries = []
    for candidate in candidates:
        one = by_name.get(candidate.setting, Measured(candidate.setting, {}))
        gain = one.gain(plain)[0] if plain and one is not plain else {}
        entries.append(
            candidate.to_mapping()
            | {
                "label": origin_label(candidate.setting),
                "scores": {str(seed): dict(score) for seed, score in one.scores.items()},
                "planned_seeds": one.planned,
                "test_percent": {column: asdict(cell) for column, cell in described(one.cells()).items()},
                "difference_percent": {column: asdict(cell) for column, cell in described(gain).items()},
            }
        )
    return {
        "verdict": verdict.to_mapping(),
        "caption": table.caption,
        "notes": list(table.notes),
        "protocol": config["protocol"],
        "metric": config["metric"],
        "winner": candidates[0].setting if candidates and not candidates[0].plain else None,
        "configurations": entries,
    }


def write_best(folder: ExperimentFolder, winner: Candidate) -> None:
    """Write best.yaml: the winner for ``python -m dce_ray.train baseline=... config=best.yaml``."""
    config = folder.config
    seed = winner.confirmation_seed(0)
    mapping = winner.configuration(seed)
    split = "test" if config["protocol"] == "paper" else "holdout"
    command = portable_command("dce_ray.train", config=folder.best)
    origin = (
        f"# Point {winner.point} of {folder.path.name}: {100 * winner.value:.2f} on {split} "
        f"at iteration {winner.iteration}, up to which the confirmation trains.\n"
        f"# {selection_text(config['protocol'], config['metric'])}\n"
        f"# seed: {seed} is that of the confirmation's first run, which this repeats; its others count up from there.\n"
        f"# {runnable(command, anywhere=True)}\n"
    )
    write_atomically(folder.best, origin + yaml.safe_dump(mapping, sort_keys=False))
