"""What a run costs the driver stays the same however many there are: counted, not timed; and so does the mirror's."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import pytest

from benchmarks.scale import FilesRead, Simulated
from dce_ray.experiment.record import RunRecord
from dce_ray.search.cost import Cost
from dce_ray.tracking.upload import Uploads

RUNS = 48


@dataclass
class Spent:
    lines: int = 0
    reads: int = 0


def spent_on(simulated, until):
    """Lines that the driver's thread executes, every turn of a loop counted, and files that it opens to read."""
    spent, reads = Spent(), FilesRead(simulated.path)

    def count(frame, event, argument):
        spent.lines += event == "line"
        return count

    sys.settrace(count)
    try:
        simulated.drive(until)
    finally:
        sys.settrace(None)
        reads.on = False
    spent.reads = reads.count
    return spent


@pytest.fixture(scope="module")
def grown(tmp_path_factory):
    """Runs one after the other; what eight of the early ones and the eight last ones cost."""
    path = tmp_path_factory.mktemp("scale") / "results" / "synthetic" / "delu" / "one"
    simulated = Simulated(path, runs=RUNS, workers=1)
    simulated.drive(8)
    early = spent_on(simulated, 16)
    simulated.drive(RUNS - 8)
    return simulated, early, spent_on(simulated, RUNS)


def test_a_late_run_costs_the_driver_what_an_early_one_does(grown):
    _, early, late = grown
    assert late.reads == pytest.approx(early.reads, abs=4), (early, late)
    # With 32 runs more to pass over, a pass over all of them at a single kind of event would be a percent or more.
    assert late.lines <= 1.005 * early.lines, (early, late)


def test_what_is_driven_is_a_whole_search(grown):
    simulated, _, _ = grown
    records = [run.record() for run in simulated.folder.trials()]
    assert {record.state for record in records} == {"finished"}
    assert len(records) == RUNS
    again = simulated.open()
    assert again.ledger.complete
    assert again.start("more") == "FINISHED"


def test_the_mirror_reads_an_ended_run_once(grown):
    simulated, _, _ = grown
    uploads = Uploads(simulated.folder, "search")
    reads = []
    for _ in range(2):
        count = FilesRead(simulated.path / "trials")
        first = list(uploads.read(live=True))
        count.on = False
        reads.append(count.count)
    assert reads[0] >= RUNS
    assert reads[1] == 0
    points = {run.record().point for run in simulated.folder.trials()}
    assert len(first) == 1 + len(points) + RUNS  # the search, its points and the plain baseline, the runs
    run = simulated.folder.trials()[-1]
    run.update(error="changed")
    count = FilesRead(simulated.path / "trials")
    changed = list(uploads.read(live=True))
    count.on = False
    assert count.names == [str(run.path / "record.json")]
    assert changed[-1].content.tags["error"] == "changed"


def test_the_median_of_a_run_is_kept_and_not_worked_out_anew():
    cost = Cost(10, 0, 0, 1, 1.0, 0.0)
    for length in (5, 1, 4, 2, 9):
        began = cost._since
        cost.ended(record(began, began + length))
    assert cost.run_s == 3  # of 1, 4, 2, 9: the first run of the slot started its process, too


def record(started, ended):
    return RunRecord("key", "trial", "point 0", 0, "finished", {}, 0, started=started, ended=ended)
