"""A search from Python: typed arguments in, winner, trials, tables and folder out. The command line only translates."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dce_ray.datasets import ImportOptions
from dce_ray.errors import OutputError, SearchError
from dce_ray.experiment.candidate import Candidate
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.experiment.mirrored import at_storage
from dce_ray.experiment.study import read_study
from dce_ray.files import AGAIN
from dce_ray.interrupts import ends_at_once, nothing_asked, was_interrupted
from dce_ray.points.standing import Standing, read_standing
from dce_ray.provenance import environment
from dce_ray.search.advice import changed_lines, seeds_note
from dce_ray.search.next_steps import next_lines
from dce_ray.search.opening import create, reopen
from dce_ray.search.options import ConfirmOptions, RayOptions, SearchOptions, TrackingOptions
from dce_ray.search.selection import select
from dce_ray.search.settings import Experiment, Request, Settings
from dce_ray.search.surroundings import nothing_left
from dce_ray.words import command_line

if TYPE_CHECKING:
    from dce_ray.report.tables import Table
    from dce_ray.report.trial_table import TrialTable
    from dce_ray.search.tune_run import Stop
    from dce_ray.verdict.verdict import Verdict


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What a search came to."""

    folder: Path
    """The experiment folder, with everything that was written."""
    winner: Candidate | None
    """The best setting on the selecting split; None where no run was trained to its end."""
    trials: TrialTable
    """One row per run."""
    tables: Mapping[str, Table]
    """``confirmation``: every confirmed setting on test, with its paired difference to the plain baseline; empty
    where nothing was confirmed."""
    verdict: Verdict | None = None
    """Whether the winner beats the plain baseline, and how sure that is; None where the search ended before that."""
    stopped: str | None = None
    """Why the search ended early (the time budget, Ctrl-C); None when all was done. ``resume_search`` goes on."""
    interrupted: bool = False
    """Whether the user ended it."""
    standing: Standing | None = None
    """The points with what the model makes of their runs; None with ``policy="single"``, or before a run ended."""


def run_search(
    baseline: str = "delu",
    data: str | Path = "synthetic",
    *,
    annotations: str | Path | None = None,
    fps: float | None = None,
    stride_frames: int | None = None,
    train_subset: str | None = None,
    test_subset: str | None = None,
    num_runs: int = 32,
    folds: int = 5,
    time_budget: str | None = None,
    policy: str = "replicates",
    sampler: str = "auto",
    scheduler: str = "auto",
    seed: int = 0,
    space: Mapping[str, Any] | str | Path | None = None,
    run: Mapping[str, Any] | None = None,
    preset: str | None = None,
    confirm_top: int = 3,
    confirm_seeds: int = 5,
    confirm_precision: float | None = 1.0,
    confirm_max_seeds: int = 20,
    name: str | None = None,
    results: str | Path = "results",
    storage: str | None = None,
    tracking: bool = True,
    tracking_uri: str | None = None,
    ray_address: str | None = None,
    num_cpus: int | None = None,
    cpus_per_trial: float | None = None,
    gpus_per_trial: float | None = None,
) -> SearchResult:
    """Tune SCS and MCM for a baseline: search, choose on the selecting split, confirm on test.

    Args:
        baseline: name in ``dce_ray.baselines.BASELINES``.
        data: named data set, feature store (a folder, ``s3://``, ``gs://``), folder in the released layout, or folder
            of per-video features.
        annotations: ActivityNet JSON of per-video features; None takes the only JSON file in their folder.
        fps: frames per second at which the features were extracted, while importing; None takes what the data says.
        stride_frames: frames from one snippet to the next likewise; None takes 16.
        train_subset: name of the subset that trains, likewise; None takes what is known or usual.
        test_subset: name of the subset that is tested on, likewise.
        num_runs: runs of the search in all, the plain baseline's included.
        folds: parts of the train videos; a run trains without one of them and is scored on it.
        time_budget: for the whole search, its confirmation included, such as ``90m``; the wait for Ray and its first
            node does not count.
        policy: ``replicates`` (folds and seeds, a model of the noise chooses) or ``single`` (one run per point).
        sampler: who suggests new points: ``auto``, ``gp``, ``tpe``, ``cmaes`` or ``random``.
        scheduler: early stopping with ``policy="single"``: ``auto``, ``asha``, ``hyperband``, ``median`` or ``none``.
        seed: of the suggestions; runs train with the run's own ``seed`` and those after it.
        space: a YAML file of your own, or changes of the search space:
            ``{"delta": {"high": 0.95}, "lambda": 1.0, "gamma": "beta"}``; of a
            range what is not given stays as shipped, the scale (``log``) too. Keys beside the six scalars are searched
            by giving a range:
            ``{"training": {"learning_rate": {"low": 1e-5, "high": 1e-3, "log": True}}}``.
        run: changes of the runs' configuration, nested: ``{"protocol": "paper", "training": {"iterations": 300}}``.
        preset: published values to start from, ``paper`` or ``released``; None takes the paper's where it has any.
        confirm_top: best settings that are confirmed.
        confirm_seeds: seeds per confirmed setting; 0 confirms nothing and never reads test.
        confirm_precision: wanted half-width of the interval of winner less plain baseline, in percentage points of mAP:
            these two get so many more seeds; None: they do not.
        confirm_max_seeds: most seeds of winner and plain baseline.
        name: of the experiment folder ``<results>/<data>/<baseline>/<name>``; None takes the time.
        results: where experiment folders lie.
        storage: what all nodes reach (a folder, ``s3://``, ``gs://``): runs go on from there, and the search anywhere.
        tracking: whether MLflow is told.
        tracking_uri: MLflow's address; None takes ``MLFLOW_TRACKING_URI``, else a database in ``results``.
        ray_address: ``auto`` or ``host:port``; None starts a local Ray unless ``RAY_ADDRESS`` is set.
        num_cpus: CPUs of a local Ray; None takes what this process may use and other searches leave free.
        cpus_per_trial: None chooses.
        gpus_per_trial: share of a GPU; None chooses.

    Raises:
        ConfigError: naming every argument that is unknown or out of range; nothing was started then.
        SearchError: the search could not go on; what is done is kept in its folder.

    Example:
        >>> import dce_ray
        >>> result = dce_ray.run_search("delu", "synthetic-tiny", num_runs=7, folds=2, confirm_top=1, confirm_seeds=1,
        ...                             run={"training": {"iterations": 4, "eval_every": 2}},
        ...                             results=folder, name="example", tracking=False)  # doctest: +ELLIPSIS
        presets: ...
        >>> result.winner.setting, len(result.trials.rows), sorted(result.tables)
        ('top1', 7, ['confirmation'])
    """
    settings = Settings(
        policy=policy,
        sampler=sampler,
        scheduler=scheduler,
        name=name,
        results=str(results),
        storage=storage,
        search=SearchOptions(
            num_runs=num_runs,
            folds=folds,
            time_budget=time_budget,
            cpus_per_trial=cpus_per_trial,
            gpus_per_trial=gpus_per_trial,
            seed=seed,
        ),
        confirm=ConfirmOptions(confirm_top, confirm_seeds, confirm_precision, confirm_max_seeds),
        ray=RayOptions(address=ray_address, num_cpus=num_cpus),
        tracking=TrackingOptions(enabled=tracking, uri=tracking_uri),
    )
    json_file = None if annotations is None else str(annotations)
    importing = ImportOptions(json_file, fps, stride_frames, train_subset, test_subset)
    file = str(space) if isinstance(space, str | Path) else None
    changes = {} if space is None or isinstance(space, str | Path) else space
    request = Request(baseline, str(data), preset, run or {}, changes, settings, importing, file)
    return conduct(*create(request), made=True)


def resume_search(folder: str | Path, changes: Mapping[str, Any] | None = None) -> SearchResult:
    """Go on with a search after a stop, a kill or a crash, also with more trials.

    Args:
        folder: the experiment folder, or an experiment at its storage (``s3://...``).
        changes: settings by dotted key, such as ``{"search.num_runs": 64}``: how much is run and where.

    Raises:
        ConfigError: a change that would make other trials of it.
        SearchError: the folder holds no experiment, or its data has changed.
    """
    return conduct(*reopen(folder, changes or {}))


def conduct(experiment: Experiment, folder: ExperimentFolder, *, made: bool = False) -> SearchResult:
    """Run the search of a folder, mirror it to MLflow, and write its tables and pictures, also after a stop.

    Args:
        experiment: what to search.
        folder: of it.
        made: whether the caller has just made the folder; a fault before the first run then removes it again. A
            campaign names its folders, which stay.

    Raises:
        SearchError: a fault of the environment; the message says what is kept and how to go on.
    """
    from dce_ray.report.acting import idle_lines
    from dce_ray.report.captions import holdout_note
    from dce_ray.search.in_flight import INTERRUPTED, OUT_OF_TIME
    from dce_ray.search.stages import Search

    nothing_asked()
    print(f"experiment folder: {folder.path}")
    for note in filter(None, [holdout_note(folder.config), seeds_note(experiment.settings.confirm.seeds)]):
        print(f"note: {note}")
    kept = nothing_left(folder) if made and not experiment.campaign else contextlib.nullcontext()
    with folder.lock(), _resumable(folder) as told, kept:  # who is refused the lock removes nothing of who has it
        for line in changed_lines(folder, experiment):
            print(line)
        folder.keep_config(experiment.to_mapping())  # what resume= changed holds for the next one too
        storage, digest = experiment.settings.storage, experiment.digest
        with at_storage(folder, storage, digest) as working:
            folder.note_session(environment())  # behind what was still done elsewhere, and before MLflow reads it
            with _tracked(experiment, folder):
                search, at_once = Search(experiment, working), False
                try:
                    stop = search.run()
                except (KeyboardInterrupt, SystemExit) as fault:  # Ctrl-C or SIGTERM where no run can be stopped tidily
                    print(f"stopped: {INTERRUPTED}\nWhat is done is kept. Go on with: {_resume_command(folder)}")
                    told.set()
                    at_once = ends_at_once(fault)
                    raise
                finally:
                    search.clock.keep()
                    if at_once:
                        print(_unwritten(folder))
                    else:
                        _write_outputs(folder)
    if stop is not None:
        more = " search.time_budget=<more>" if stop.reason == OUT_OF_TIME else ""
        print(f"stopped: {stop.reason}\nWhat is done is kept. Go on with: {_resume_command(folder)}{more}")
        if stop.failure:
            raise SearchError(stop.reason)
    for line in idle_lines(folder):
        print(f"note: {line}")
    result = _result(experiment, folder, stop)
    if result.verdict is not None:
        print(result.verdict.text)
    if stop is None:
        print("\n".join(next_lines(experiment, folder)))
    return result


@contextlib.contextmanager
def _resumable(folder: ExperimentFolder) -> Iterator[threading.Event]:
    """Name the command that goes on where something cannot be written inside, since the one that was given is refused,
    and where the user ends what comes behind the runs; to be set inside where that was told already."""
    told = threading.Event()
    try:
        yield told
    except (KeyboardInterrupt, SystemExit):
        if not told.is_set():
            print(f"What is done is kept. Go on with: {_resume_command(folder)}")
        raise
    except OutputError as fault:
        if not folder.path.exists():  # nothing was begun, so it is given again
            raise
        raise OutputError(str(fault).replace(AGAIN, f"go on with: {_resume_command(folder)}")) from fault


def _result(experiment: Experiment, folder: ExperimentFolder, stop: Stop | None) -> SearchResult:
    from dce_ray.report.confirmation import confirmation_table
    from dce_ray.report.trial_table import read_trials
    from dce_ray.verdict.verdict import Verdict

    study = read_study(folder.study)
    candidates = select(folder, experiment.settings.confirm.top)
    winner = candidates[0] if candidates and not candidates[0].plain else None
    table = confirmation_table(folder, candidates)
    measured = winner is not None and any(row.group == winner.setting and row.cells for row in table.rows)
    tables = {"confirmation": table} if measured else {}
    trials = read_trials(folder, study)
    standing = None if folder.config["policy"] == "single" else read_standing(folder)
    if stop is None:
        return SearchResult(folder.path, winner, trials, tables, Verdict.read(folder), standing=standing)
    verdict = None if stop.interrupted else Verdict.read(folder)  # else of a choice that more runs may have changed
    return SearchResult(folder.path, winner, trials, tables, verdict, stop.reason, stop.interrupted, standing)


@contextlib.contextmanager
def _tracked(experiment: Experiment, folder: ExperimentFolder) -> Iterator[None]:
    tracking = experiment.settings.tracking
    if not tracking.enabled:
        yield
        return
    from dce_ray.tracking import start_mirror

    mirror = None
    try:
        with start_mirror(folder, tracking.uri) as mirror:
            yield
    finally:  # also when the search failed: what is done is in MLflow, or waits to be sent
        if mirror is not None:
            print(mirror.message)


def _write_outputs(folder: ExperimentFolder) -> None:
    """Tables, pictures and report of what is there; also after an interruption."""
    if folder.study.is_file():
        try:
            from dce_ray.report.page import write_outputs

            write_outputs(folder, live=False)  # what runs were left are interrupted
        except BaseException as fault:
            if was_interrupted(fault):
                print(_unwritten(folder))
            raise


def _unwritten(folder: ExperimentFolder) -> str:
    return f"report.html was not written, for it was interrupted. It comes with: {_resume_command(folder)}"


def _resume_command(folder: ExperimentFolder) -> str:
    return command_line("dce_ray.search", resume=folder.path)
