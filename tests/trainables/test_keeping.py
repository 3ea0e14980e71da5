"""Where a run's process keeps what it goes on from: the experiment folder where it sees it, a place, or its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from dce_ray.trainables import keeping
from dce_ray.trainables.keeping import attempts_for, forget, is_own, require_digest

from dce_ray.errors import StoreError
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.experiment.record import RunRecord
from dce_ray.experiment.run_folder import Common
from dce_ray.places import Place


@pytest.fixture
def folder(tmp_path: Path) -> ExperimentFolder:
    return ExperimentFolder.create(tmp_path / "results" / "data" / "delu" / "one", {}, {})


def told(folder: ExperimentFolder) -> dict:
    run = folder.trial("a")
    run.write(RunRecord("a", "trial", "trial 0", 0, "running", {}, 0, attempt=1))
    return run.for_worker()


def test_a_process_that_sees_the_experiment_folder_keeps_its_state_there(folder):
    with folder.lock():
        attempts = attempts_for(told(folder))
    assert attempts.root == folder.path / "trials" / "a" / "state"
    assert not is_own(attempts)
    forget(attempts)


def test_a_folder_of_the_same_path_on_another_machine_is_told_from_it(folder):
    with folder.lock():
        config = told(folder)
    (folder.path / ".session").write_text("another session")
    attempts = attempts_for(config)
    assert is_own(attempts)
    assert not attempts.root.is_relative_to(folder.path)
    attempts.of(1).append(2, {"score": 0.1})
    forget(attempts)
    assert not attempts.root.exists()


def test_with_storage_all_keep_their_state_there(folder, tmp_path):
    place = Place.at(tmp_path / "storage").below("data", "delu", "one")
    folder = ExperimentFolder(folder.path, Common("digest", place, 3))
    with folder.lock():
        config = told(folder)
    attempts = attempts_for(config)
    assert attempts.place == place.below("trials", "a", "state")
    assert attempts.session == 3
    assert not is_own(attempts)
    assert attempts.of(1).place == place.below("trials", "a", "state", "3-1")
    assert attempts.of(1).path.is_relative_to(keeping._own())


def test_other_data_than_the_search_began_with_are_refused():
    require_digest("a" * 64, None)
    require_digest("a" * 64, "a" * 64)
    with pytest.raises(StoreError, match="digest bbbbbbbbbbbb, expected aaaaaaaaaaaa; give all nodes the same store"):
        require_digest("b" * 64, "a" * 64)
