"""What a search ends with: the commands that may come next, as they stand."""

from __future__ import annotations

from dce_ray.errors import OutOfTimeError, SearchError
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.search.options import seconds
from dce_ray.search.settings import Experiment
from dce_ray.winner import winners_checkpoint
from dce_ray.words import command_line, shown_path


def next_lines(experiment: Experiment, folder: ExperimentFolder) -> list[str]:
    """The report's place and the commands, each with what it does, ready to be pasted.

    Args:
        experiment: of the search.
        folder: of the search, all of whose stages are done.
    """
    budget, more = experiment.settings.search.time_budget, 2 * experiment.settings.search.num_runs
    time = {} if budget is None else {"search__time_budget": f"{2 * seconds(budget) / 60:g}m"}
    steps = {"the setting again, alone": command_line("dce_ray.train", config=folder.best)}
    if winners_checkpoint(folder.path) is not None:
        steps = {"the winner's table anew": command_line("dce_ray.evaluate", checkpoint=folder.path)} | steps
    steps["twice the runs"] = command_line("dce_ray.search", resume=folder.path, search__num_runs=more, **time)
    width = max(map(len, steps))
    report = f"Report: {shown_path(folder.path / 'report.html')}"
    return [report, "Next:", *(f"  {what:{width}s}  {command}" for what, command in steps.items())]


def nothing_to_confirm(folder: ExperimentFolder, stopped: str | None, hopeless: str | None) -> SearchError:
    """What to tell where no point has a usable run.

    Args:
        folder: of the search.
        stopped: that its time is over; None where it was not.
        hopeless: why it makes no sense to go on as before; None while it does.
    """
    why = hopeless or stopped or f"{folder.path / 'trials.csv'} says what failed"
    kind, more = (OutOfTimeError, "search.time_budget") if stopped else (SearchError, "search.num_runs")
    return kind(
        f"no point has a run that was trained to its end, so there is nothing to confirm: {why}; "
        f"to go on: {command_line('dce_ray.search', resume=folder.path)} {more}=<more>"
    )
