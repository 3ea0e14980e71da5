"""What a user sees: MLflow's own UI in a real browser, opened by the address that a search prints."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from chromium import NEEDED, Chromium
from made_points import made_points
from mirrored import Server, add_confirmation, add_trial, finish, new_experiment, runs_of
from mlflow import MlflowClient

from dce_ray.config import SCALARS
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.files import write_json
from dce_ray.points.standing import read_standing
from dce_ray.tracking import SyncReport, sync

pytestmark = [pytest.mark.browser, NEEDED]
CLOSE_ASSISTANT = "document.querySelector('[aria-label*=\"lose\" i]')?.click()"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> ExperimentFolder:
    folder = new_experiment(tmp_path_factory.mktemp("seen") / "results", "seen")
    for number in range(5, 12):
        add_trial(folder, number)
    finish(folder)
    for run in folder.confirmations():
        run.checkpoint.unlink()
    return folder


@pytest.fixture(scope="module")
def report(folder: ExperimentFolder, server: Server) -> SyncReport:
    report = sync(folder, server.uri)
    assert report.complete, report
    return report


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory, server: Server) -> tuple[ExperimentFolder, SyncReport]:
    """A search of points and replicates, confirmed and sent."""
    results = tmp_path_factory.mktemp("points") / "results"
    folder = made_points(results / "hapt" / "ddgnet" / "points", 24)
    for number, (name, seed) in enumerate([("top1", 1000), ("baseline", 1000)]):
        add_confirmation(folder, name, seed, number).checkpoint.unlink()
    write_json(folder.confirmation, {"winner": "top1"})
    report = sync(folder, server.uri)
    assert report.complete, report
    return folder, report


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Chromium]:
    one = Chromium(tmp_path / "profile")
    yield one
    one.close()


def keep(browser: Chromium, name: str) -> None:
    """Save a picture where ``DCE_SCREENSHOTS`` names a folder: how the README's pictures are made."""
    target = os.environ.get("DCE_SCREENSHOTS")
    if target:
        browser.picture(Path(target) / name)


def until_columns(browser: Chromium, wanted: set[str]) -> None:
    """Wait until the run table has these columns."""
    header = ".ag-header-cell"
    found: set[str] = set()

    def columns() -> bool:
        # The grid only builds the columns in sight, and builds them when it comes to it: look along it until all came.
        script = "document.querySelector('.ag-body-horizontal-scroll-viewport')?.scrollTo(arguments[0], 0)"
        for offset in (0, 500, 1000, 1500, 2000):
            browser.run(script, offset)
            found.update(text.strip() for text in browser.texts(header))
        return wanted <= found

    browser.until(columns, "the columns are not there")


def test_the_printed_address_shows_runs_with_our_columns(browser: Chromium, report: SyncReport):
    assert report.url is not None
    browser.open(report.url)
    wanted = {*SCALARS, "best_score", "test_score", "mAP/avg_0.1:0.7"}
    until_columns(browser, wanted | {"status", "components", "kind", "setting", "origin"})
    names = browser.until(lambda: [t for t in browser.texts(".ag-row") if "seen trial 000" in t], "no row of a trial")
    assert names
    browser.run("document.querySelector('.ag-body-horizontal-scroll-viewport')?.scrollTo(0, 0)")
    keep(browser, "runs.png")


def test_runs_compare_over_the_six_parameters_without_a_click(browser: Chromium, report: SyncReport):
    browser.open(f"{report.url}&compareRunsMode=CHART")
    axes = browser.until(
        lambda: [text for text in browser.texts(".parcoords .axis-title, .parcoords text") if not _number(text)],
        "no parallel-coordinates plot",
    )
    assert list(dict.fromkeys(axes)) == [*SCALARS, "best_score"]
    keep(browser, "compare.png")


def test_the_printed_address_shows_points_before_their_runs(
    browser: Chromium, points: tuple[ExperimentFolder, SyncReport]
):
    folder, report = points
    assert report.url is not None
    browser.open(report.url)
    until_columns(browser, {*SCALARS, "model_mean", "model_low", "model_high", "p_better", "p_best", "runs", "fold"})
    browser.run("document.querySelector('.ag-body-horizontal-scroll-viewport')?.scrollTo(0, 0)")
    standing = read_standing(folder)
    assert standing is not None
    best = f"points point {standing.posterior.best_point:03d}"
    rows = browser.until(lambda: [t for t in browser.texts(".ag-row") if "points " in t], "no row of a point")
    names = [text[text.index("points ") :] for text in rows]
    assert names[0].startswith(best)
    keep(browser, "points.png")


def test_points_compare_over_the_six_parameters_without_a_click(
    browser: Chromium, points: tuple[ExperimentFolder, SyncReport]
):
    _, report = points
    browser.open(f"{report.url}&compareRunsMode=CHART")
    axes = browser.until(
        lambda: [text for text in browser.texts(".parcoords .axis-title, .parcoords text") if not _number(text)],
        "no parallel-coordinates plot",
    )
    assert list(dict.fromkeys(axes)) == [*SCALARS, "model_mean"]
    keep(browser, "compare_points.png")


def _number(text: str) -> bool:
    try:
        float(text.replace("\N{MINUS SIGN}", "-"))
    except ValueError:
        return False
    return True


def test_a_map_table_is_shown_as_a_table(browser: Chromium, report: SyncReport, server: Server):
    run = runs_of(MlflowClient(server.uri), "seen")["seen confirm top1, seed 0"]
    page = f"{server.uri}/#/experiments/{report.experiment_id}/runs/{run.info.run_id}/artifacts/tables/map.json"
    browser.open(f"{page}?workflowType=machine_learning")
    cells = browser.until(
        lambda: [text for text in browser.texts("[role=cell], td") if "average 0.1:0.7" in text], "no table"
    )
    assert cells
    heads = {text.strip() for text in browser.texts("[role=columnheader], th")}
    assert {"tIoU", "mAP"} <= heads
