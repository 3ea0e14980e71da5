"""A campaign: baselines times data sets, searched one after the other in one Ray, with one report at the end.

One after the other, each on all slots: every search has the machine to itself, its verdict comes early, and what one
does never changes another. All values of all searches are checked before the first starts.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dce_ray.errors import ConfigError, DceError, SearchError
from dce_ray.experiment.campaign import CampaignFolder, Member
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.interrupts import nobody_reads
from dce_ray.provenance import environment
from dce_ray.report.gather import PAGE, Outcome, find_experiments, make_tables, write_report
from dce_ray.search.advice import changed_lines
from dce_ray.search.api import SearchResult, conduct
from dce_ray.search.cost import Runs
from dce_ray.search.opening import check, reopen
from dce_ray.search.settings import Experiment, Request
from dce_ray.search.storage import with_data_there
from dce_ray.verdict.verdict import Verdict
from dce_ray.words import command_line

SEVERAL = ("baseline", "data")
"""Keys that may be given several values."""
DEFAULT = {"baseline": "delu", "data": "synthetic"}

log = logging.getLogger(__name__)


def spread_out(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The values of each search, where several are asked for; empty where it is one search.

    >>> spread_out({"baseline": ["delu", "co2net"], "data": "hapt"})
    [{'baseline': 'delu', 'data': 'hapt'}, {'baseline': 'co2net', 'data': 'hapt'}]
    >>> spread_out({"baseline": "delu"})
    []

    Raises:
        ConfigError: a value is given twice, or a list is empty.
    """
    asked = {key: values.get(key, DEFAULT[key]) for key in SEVERAL}
    if not any(isinstance(value, list) for value in asked.values()):
        return []
    lists = {key: [str(one) for one in (value if isinstance(value, list) else [value])] for key, value in asked.items()}
    faults = [f"{key}=[]: names nothing; give one value or more" for key, many in lists.items() if not many]
    for key, many in lists.items():
        twice = sorted({one for one in many if many.count(one) > 1})
        faults += [f"{key}={','.join(many)}: names {one} more than once; a campaign searches it once" for one in twice]
    if faults:
        raise ConfigError("\n".join(faults))
    return [
        {**values, "baseline": baseline, "data": data}
        for data, baseline in itertools.product(lists["data"], lists["baseline"])
    ]


def create_campaign(requests: Sequence[Request]) -> tuple[CampaignFolder, list[Experiment]]:
    """Check all searches, then make all folders: a wrong value in any of them starts none and leaves nothing behind.

    Raises:
        ConfigError: naming the fault of every search that has one.
        SearchError: folders of this name exist.
    """
    settings = requests[0].settings
    name = settings.name or time.strftime("%Y%m%d-%H%M%S")
    checked = _check([replace(one, settings=replace(one.settings, name=name)) for one in requests])
    paths = [parent / name for _, parent in checked]
    own = Path(settings.results) / "campaigns" / name
    if there := [path for path in (own, *paths) if path.exists()]:
        raise SearchError(
            f"{', '.join(map(str, there))}: exists; give another name=, or go on with what is there: "
            f"resume={own if own in there else there[0]}"
        )
    experiments = [with_data_there(replace(experiment, campaign=name)) for experiment, _ in checked]
    for experiment, path in zip(experiments, paths, strict=True):
        ExperimentFolder.create(path, experiment.to_mapping(), environment())
    searches = [(request.data, request.baseline, path.resolve()) for request, path in zip(requests, paths, strict=True)]
    return CampaignFolder.create(own, searches), experiments


def _check(requests: Sequence[Request]) -> list[tuple[Experiment, Path]]:
    """Every search, checked, with the folder that its own will lie in; equal faults are told once."""
    checked: list[tuple[Experiment, Path]] = []
    named: dict[Path, Request] = {}
    faults: dict[str, list[str]] = {}
    for request in requests:
        try:
            experiment, parent = check(request)
            if parent in named:
                raise ConfigError(
                    f"data={named[parent].data},{request.data}: both are {parent.parent.name} and would lie in one "
                    f"folder; name one of them"
                )
            named[parent] = request
            checked.append((experiment, parent))
        except DceError as fault:
            faults.setdefault(str(fault), []).append(f"baseline={request.baseline} data={request.data}")
    if faults:
        told = [
            text if len(names) == len(requests) else f"{', '.join(names)}: {text}" for text, names in faults.items()
        ]
        raise ConfigError("no search of the campaign was started:\n" + "\n".join(told))
    return checked


def reopen_campaign(path: str, changes: Mapping[str, Any]) -> tuple[CampaignFolder, list[Experiment]]:
    """What a campaign's folder names, with the changes of dotted keys; all searches are checked before one goes on.

    Raises:
        ConfigError: a change that would make other runs of a search.
        SearchError: a folder is not there, or its data has changed.
    """
    campaign = CampaignFolder.open(path)
    experiments, faults = [], []
    for member in campaign.members:
        try:
            experiments.append(reopen(campaign.search(member), changes)[0])
        except DceError as fault:
            faults.append(f"{_name(member)}: {fault}")
    if faults:
        raise ConfigError("no search of the campaign went on:\n" + "\n".join(faults))
    return campaign, experiments


def conduct_campaign(campaign: CampaignFolder, experiments: Sequence[Experiment], *, changed: bool = False) -> bool:
    """Run every search that has not ended, one after the other; whether the user ended it.

    Args:
        campaign: its folder.
        experiments: what each of its searches is asked.
        changed: whether that is something else than before: all folders are told first, so that a kill in the first
            search forgets nothing of the others.

    Raises:
        SearchError: another process works on the campaign or on one of its searches; or, at the end, where searches
            failed: the others were run all the same.
    """
    print(f"campaign: {campaign.path}")
    interrupted = False
    with campaign.lock():
        if changed:
            _keep_changes(campaign, experiments)
        waiting = [
            (member, experiment)
            for member, experiment in zip(campaign.members, experiments, strict=True)
            if member.state != "ended"
        ]
        try:
            interrupted = _conduct_all(campaign, waiting)
        except (KeyboardInterrupt, SystemExit):
            print(f"the campaign stopped. Go on with: {_resume_command(campaign)}")
            raise
        finally:
            write_comparison(campaign)
        print(closing_text(campaign))
    if failed := [one for one in campaign.members if one.state == "failed"]:
        raise SearchError(
            f"{len(failed)} of {len(experiments)} searches failed: "
            f"{', '.join(map(_name, failed))}; to go on with them: {_resume_command(campaign)}"
        )
    return interrupted


def _keep_changes(campaign: CampaignFolder, experiments: Sequence[Experiment]) -> None:
    """Write what every search is asked from now on; what has ended may have more to do."""
    with contextlib.ExitStack() as held:
        folders = [ExperimentFolder.open(campaign.search(member)) for member in campaign.members]
        for folder in folders:  # all of them before the first is changed
            held.enter_context(folder.lock())
        changes = [changed_lines(*pair) for pair in zip(folders, experiments, strict=True)]
        for line in dict.fromkeys(line for lines in changes for line in lines):  # of all searches mostly the same
            print(line)
        for member, folder, experiment in zip(campaign.members, folders, experiments, strict=True):
            folder.keep_config(experiment.to_mapping())
            campaign.note(member, "waiting")


def _conduct_all(campaign: CampaignFolder, waiting: Sequence[tuple[Member, Experiment]]) -> bool:
    """Whether the user ended it."""
    session = contextlib.ExitStack()
    with session:
        if waiting:
            _enter(session, campaign, waiting[0][1])
            _tell_cost(campaign, waiting)
        for member, experiment in waiting:
            print(f"\n== {_name(member)} ==", flush=True)
            _enter(session, campaign, experiment)
            try:
                result = conduct(experiment, ExperimentFolder.open(campaign.search(member)))
            except DceError as fault:
                campaign.note(member, "failed", str(fault))
                print(f"failed: {fault}")
                session.close()  # what failed may be Ray: the next search gets a new one
            except Exception as fault:  # nobody foresaw it; the other searches have their right all the same
                if isinstance(fault, BrokenPipeError) and nobody_reads():  # as Ctrl-C
                    raise
                log.exception("%s", campaign.search(member))
                campaign.note(member, "failed", f"{type(fault).__name__}: {fault}")
                session.close()
            else:
                _note(campaign, member, result)
                if result.interrupted:
                    print(f"the campaign stopped. Go on with: {_resume_command(campaign)}")
                    return True
            write_comparison(campaign)
    return False


def _note(campaign: CampaignFolder, member: Member, result: SearchResult) -> None:
    campaign.note(member, "stopped" if result.stopped else "ended", result.stopped or "")


def _enter(session: contextlib.ExitStack, campaign: CampaignFolder, experiment: Experiment) -> None:
    """Have a Ray that outlives the searches; one that is there stays."""
    import ray

    from dce_ray.session.ray_session import ray_session

    if not ray.is_initialized():
        options = experiment.settings.ray
        try:
            session.enter_context(
                ray_session(options.address, campaign.log, options.num_cpus, go_on=_resume_command(campaign))
            )
        except SearchError as fault:
            raise SearchError(f"{fault}\nTo go on with the campaign: {_resume_command(campaign)}") from fault


def _tell_cost(campaign: CampaignFolder, waiting: Sequence[tuple[Member, Experiment]]) -> None:
    """Measure and print what is still to be paid for."""
    from dce_ray.search.estimate import Planned, estimate, total_text
    from dce_ray.search.stages import Search
    from dce_ray.session.gpu_nodes import with_gpu_memory
    from dce_ray.session.ray_session import living_nodes

    print(f"campaign: {len(waiting)} of {len(campaign.members)} searches to do, one after the other, each on all slots")
    nodes, planned = with_gpu_memory(living_nodes()), []
    for member, experiment in waiting:
        folder = ExperimentFolder.open(campaign.search(member))
        resources = Search(experiment, folder).resources(nodes)
        runs = Runs.of(experiment)
        left = Runs(
            max(0, runs.search - _ended(folder.trials())),
            max(0, runs.confirmation - _ended(folder.confirmations())),
            runs.further,
        )
        planned.append(Planned(_name(member), left, experiment.largest, resources, resources.slots(nodes)))
    print("cost: measuring a few steps of each", flush=True)
    estimates = estimate(planned)
    print("\n".join([*(one.text() for one in estimates), total_text(estimates)]), flush=True)


def _ended(runs: Sequence[Any]) -> int:
    return sum(run.record().state != "running" for run in runs)


def write_comparison(campaign: CampaignFolder) -> None:
    """The tables, figures and the page that compare the searches, as far as they have come.

    Raises:
        OutputError: the folder cannot be written.
    """
    found = find_experiments([campaign.path])
    if found:
        tables, groups = make_tables(found, None, wide=False)
        write_report(campaign.path, tables, groups, list(_outcomes(campaign)), f"Campaign {campaign.name}")


def closing_text(campaign: CampaignFolder) -> str:
    """What became of each search, and where they are compared."""
    lines = ["", *(f"{one.name}: {one.text}" for one in _outcomes(campaign))]
    if (campaign.path / PAGE).is_file():
        lines.append(f"compared in {campaign.path / PAGE}")
    return "\n".join(lines)


def _outcomes(campaign: CampaignFolder) -> Iterator[Outcome]:
    """The name of each search with its verdict, or with why there is none, and its own page."""
    for member in campaign.members:
        verdict = Verdict.read(ExperimentFolder(campaign.search(member)))
        reason = f"{member.state}: {member.reason.splitlines()[0]}" if member.reason else ""
        if member.state == "waiting":
            text = "has not ended" if ExperimentFolder(campaign.search(member)).study.is_file() else "has not begun"
        elif member.state == "ended":
            text = verdict.sentence if verdict else "ended without a confirmation"
        else:
            text = reason
        page = (campaign.search(member) / PAGE).is_file()
        yield Outcome(_name(member), text, f"{member.path}/{PAGE}" if page else "")


def _name(member: Member) -> str:
    """How a search is called: by its data's folder and its baseline."""
    return "/".join(Path(member.path).parts[-3:-1])


def _resume_command(campaign: CampaignFolder) -> str:
    return command_line("dce_ray.search", resume=campaign.path)
