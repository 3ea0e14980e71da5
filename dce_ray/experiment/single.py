"""The folder of ``python -m dce_ray.train``, read like that of an experiment which holds one run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dce_ray.errors import SearchError
from dce_ray.experiment.asked import Asked
from dce_ray.experiment.folder import FORMAT, ExperimentFolder
from dce_ray.experiment.record import PLAIN, RunRecord, components_of
from dce_ray.experiment.run_folder import RunFolder
from dce_ray.files import read_json
from dce_ray.train.outcome import OPTIONS, OUTCOME
from dce_ray.train.run_files import best_of

KIND = "train"
"""What ``config["kind"]`` says of such a folder, and the role of its run."""
DATABASE = "mlflow.db"


@dataclass(frozen=True, slots=True)
class SingleRun(ExperimentFolder):
    """A run's folder. Make one with :func:`open_folder`."""

    @property
    def data_name(self) -> str:
        """Whole name of the data set: the folder lies wherever it was asked for."""
        return str(self.config["data_set"])

    @property
    def config(self) -> dict[str, Any]:
        """As an experiment says it: ``config["run"]`` is the run's own."""
        run, options = read_json(self.path / "config.json"), read_json(self.path / OPTIONS)
        data_set = options.get("data_set") or Path(run["data"]).name
        told = {"format": FORMAT, "kind": KIND, "baseline": run["baseline"], "data_set": data_set}
        return Asked.of(told | {"digest": options.get("digest"), "run": run}, self.path / "config.json")

    @property
    def root(self) -> Path:
        """Folder above that holds a database of MLflow or is ``runs``; else the one that the run's folder lies in."""
        above = self.path.parents[:3]
        found = [each for each in above if (each / DATABASE).is_file() or each.name == "runs"]
        return found[0] if found else above[0]

    @property
    def run(self) -> RunFolder:
        """The run's files."""
        return RunFolder(self.path)

    @property
    def tables(self) -> dict[str, Path]:
        """mAP tables that exist, JSON, by the split that they were measured on."""
        return {path.stem.removeprefix("table-"): path for path in sorted(self.path.glob("table-*.json"))}

    def record(self) -> RunRecord:
        """What the files say of the run; one that has no outcome is ``running``, or was interrupted.

        Runs of before outcomes were kept count as finished where they have a table.
        """
        config, options = self.config, read_json(self.path / OPTIONS)
        run, readings = config["run"], self.run.readings()
        best = best_of(self.run.scores())
        before = "started" not in options
        state = "finished" if before and self.tables and not self.in_use else "running"
        last = {"ended": readings[-1].time if readings else None, "error": None, "state": state}
        outcome = last | (read_json(self.path / OUTCOME) if (self.path / OUTCOME).is_file() else {})
        components = components_of(run)
        return RunRecord(
            key=self.path.name,
            role=KIND,
            setting=components,
            number=0,
            state=outcome["state"],
            config=run,
            seed=run["seed"],
            fold=run["sampling"]["fold"] if run["protocol"] == "holdout" else None,
            origin=PLAIN if components == PLAIN else KIND,
            value=best[1] if best else None,
            iteration=best[0] if best else None,
            error=outcome["error"],
            started=options.get("started") or (self.path / "environment.json").stat().st_mtime,
            ended=outcome["ended"],
            host=str(self.environment.get("host", "")),
        )


def open_folder(path: Path | str) -> ExperimentFolder:
    """An existing folder of an experiment or of a single run.

    Raises:
        SearchError: ``path`` holds neither, or what another version wrote.
    """
    folder = Path(path).resolve()
    if not (folder / OPTIONS).is_file():
        return ExperimentFolder.open(path)
    if not (folder / "config.json").is_file():
        raise SearchError(f"{path} holds a run that did not begin (no config.json); train it anew")
    return SingleRun(folder)
