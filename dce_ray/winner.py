"""The network that a search ends with, found from its folder alone."""

from __future__ import annotations

from pathlib import Path

from dce_ray.errors import CheckpointError
from dce_ray.files import read_json
from dce_ray.train.build import Trained, load_trained
from dce_ray.train.run_files import RunFiles
from dce_ray.words import command_line


def winners_checkpoint(search: Path) -> Path | None:
    """Checkpoint of the winner's confirmation run of the first seed: a choice among seeds would be a choice on test.

    Args:
        search: an experiment folder.

    Returns:
        None where the search has confirmed nothing yet.
    """
    confirmation = search / "confirmation.json"
    if not confirmation.is_file():
        return None
    winner = read_json(confirmation).get("winner")
    found: dict[int, Path] = {}
    for record in sorted((search / "confirm").glob("*/record.json")):
        content, checkpoint = read_json(record), RunFiles(record.parent).checkpoint
        if content["setting"] == winner and content["state"] == "finished" and checkpoint.is_file():
            found[content["seed"]] = checkpoint
    return found[min(found)] if found else None


def checkpoint_of(path: Path) -> Path:
    """The checkpoint that a path means: the file itself, a search's winner, or the best state of a run's folder.

    Raises:
        CheckpointError: there is none, with what the folder lacks.
    """
    if not path.is_dir():
        return path
    if (path / "study.journal").is_file() or (path / "confirm").is_dir():
        found = winners_checkpoint(path)
        if found is None:
            raise CheckpointError(
                f"{path}: this search has no confirmed winner whose checkpoint is there; go on with it "
                f"({command_line('dce_ray.search', resume=path)}), with confirm.seeds of 1 or more"
            )
        return found
    if (path / "config.json").is_file() and "search" in read_json(path / "config.json"):
        raise CheckpointError(
            f"{path}: this search was stopped before its first run; go on with it "
            f"({command_line('dce_ray.search', resume=path)})"
        )
    for candidate in (RunFiles(path).best_checkpoint, RunFiles(path).checkpoint):
        if candidate.is_file():
            return candidate
    raise CheckpointError(f"{path}: neither a search's folder nor a run's; give one of these, or a checkpoint's file")


def load_winner(search: Path | str) -> Trained:
    """The winner's network of a finished search, with its configuration and classes, ready to be called.

    Raises:
        CheckpointError: the search has no winner yet, or its checkpoint is damaged.

    Example:
        >>> import dce_ray, torch
        >>> result = dce_ray.run_search("delu", "synthetic-tiny", num_runs=7, folds=2, confirm_top=1, confirm_seeds=1,
        ...                             run={"training": {"iterations": 4, "eval_every": 2}},
        ...                             results=folder, name="won", tracking=False)  # doctest: +ELLIPSIS
        presets: ...
        >>> winner = dce_ray.load_winner(result.folder)
        >>> outputs = winner.network(torch.zeros(1, 30, winner.network.feature_size))
        >>> winner.config.baseline, outputs.logits.shape[1]
        ('delu', 30)
    """
    return load_trained(checkpoint_of(Path(search).expanduser()))
