"""What a search of points and replicates leaves to look at: tables, pictures and a page, as its runs and model say."""

from __future__ import annotations

import csv
import dataclasses
import math
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from chromium import NEEDED, Chromium
from made_experiments import Script, add_confirmation, made_table, make_experiment
from made_points import PAPER, made_arms, made_points, new_points, noisy, replicate_ledger, step
from test_outputs import Outline

from dce_ray.config import SCALARS
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.experiment.study import POINTS_STUDY, open_journal
from dce_ray.files import write_json
from dce_ray.points.covariance import Hyper
from dce_ray.points.model import fit
from dce_ray.points.scores import chosen_iteration, fair_scores
from dce_ray.points.standing import Standing, read_standing, searched_ranges
from dce_ray.report import html, noise, point_figures
from dce_ray.report.learning import learning_figure
from dce_ray.report.page import write_outputs
from dce_ray.report.page_points import PointsView
from dce_ray.report.point_table import read_points
from dce_ray.report.style import house_style
from dce_ray.report.trial_table import read_trials
from dce_ray.searchable import SEARCHABLE

RUNS, FAILING = 18, (7,)
MEASURE = "average mAP 0.1:0.7 on holdout"
COLUMNS = ["point", "origin", *SCALARS, "runs", "failed_runs", "mean_fraction", "deviation_fraction"]
COLUMNS += ["low_fraction", "high_fraction", "probability_better", "probability_best", "iteration"]
NAMES = ("history", "noise", "importance", "slices", "parallel")


@pytest.fixture(scope="module")
def searched(tmp_path_factory) -> ExperimentFolder:
    """A search that has ended and is confirmed, with its outputs."""
    folder = made_points(tmp_path_factory.mktemp("points") / "hapt" / "delu" / "a", RUNS, failing=FAILING)
    for seed in range(2):
        add_confirmation(folder, "top1", 1000 + seed, made_table(0.64, 10 + seed), number=2 * seed)
        add_confirmation(folder, "baseline", 1000 + seed, made_table(0.6, seed), number=2 * seed + 1)
    entries = [
        {"name": "top1", "point": 0, "origin": "paper"},
        {"name": "baseline", "point": None, "origin": "baseline"},
    ]
    write_json(folder.confirmation, {"winner": "top1", "configurations": entries})
    write_outputs(folder)
    return folder


@pytest.fixture(scope="module")
def standing(searched) -> Standing:
    found = read_standing(searched)
    assert found is not None
    return found


def known(standing: Standing, **components: float) -> Standing:
    """The same runs, seen with components that are known."""
    hyper = dataclasses.replace(standing.posterior.hyper, **components)
    return dataclasses.replace(standing, posterior=fit(standing.runs, standing.posterior._ranges, fitted_with=hyper))


def lines_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_points_are_those_of_the_model_beside_plain(searched, standing):
    lines = lines_of(searched.path / "points.csv")
    assert list(lines[0]) == COLUMNS
    records = [run.record() for run in searched.trials()]
    started = {record.point for record in records if record.point is not None}
    assert [line["point"] for line in lines] == ["", *map(str, sorted(started))]
    finished = Counter(record.point for record in records if record.state == "finished")
    failed = Counter(record.point for record in records if record.state == "failed")
    assert failed.total() == len(FAILING)
    estimates = {one.point: one for one in (*standing.posterior.points, standing.posterior.plain)}
    for line in lines:
        point = int(line["point"]) if line["point"] else None
        assert (int(line["runs"]), int(line["failed_runs"])) == (finished[point], failed[point])
        one = estimates.get(point)
        if one is None:
            assert {line[name] for name in COLUMNS[10:]} == {""}
            continue
        assert float(line["mean_fraction"]) == one.mean
        assert float(line["high_fraction"]) - float(line["low_fraction"]) == pytest.approx(3.92 * one.deviation)
        for name, value in (("probability_better", one.better), ("probability_best", one.best)):
            assert line[name] == ("" if value is None else str(value))
        assert int(line["iteration"]) == chosen_iteration(standing.runs, point) == 200
    paper = lines[1]
    assert (paper["point"], paper["origin"]) == ("0", "paper")
    assert {name: float(paper[name]) for name in SCALARS} == PAPER | {"gamma": PAPER["beta"]}
    assert {lines[0][name] for name in SCALARS} == {""}, "the plain baseline reads none"
    written = pq.read_table(searched.path / "points.parquet")
    assert written.column_names == COLUMNS
    assert written.column("point").to_pylist() == [None, *sorted(started)]
    assert written.column("mean_fraction").to_pylist()[0] == standing.posterior.plain.mean


def test_runs_say_point_fold_and_seed_and_hold_the_told_value(searched):
    lines = lines_of(searched.path / "trials.csv")
    records = {run.record().number: run.record() for run in searched.trials()}
    assert len(lines) == RUNS
    for line in lines:
        record = records[int(line["number"])]
        assert line["point"] == ("" if record.point is None else str(record.point))
        assert (line["fold"], line["seed"]) == (str(record.fold), str(record.seed))
        assert line["value_fraction"] == ("" if record.value is None else str(record.value))
        assert line["value_iteration"] == ("" if record.value is None else str(record.iteration))
    assert {line["origin"] for line in lines} == {"baseline", "paper", "search"}
    assert [line["state"] for line in lines].count("failed") == len(FAILING)


def test_a_luckier_evaluation_is_no_value(tmp_path):
    def lucky(record, iteration):
        return 0.99 if (record.number, iteration) == (3, 300) else noisy(record, iteration)

    folder = made_points(tmp_path / "hapt" / "delu" / "lucky", 4, lucky)
    row = read_trials(folder).rows[3]
    assert (row.value, row.value_iteration) == (noisy(folder_record(folder, 3), 200), 200)


def folder_record(folder, number):
    return next(record for run in folder.trials() if (record := run.record()).number == number)


def test_the_best_point_is_the_model_s_and_a_point_without_end_is_last(searched, standing):
    table = read_points(read_trials(searched), standing)
    assert table.best is not None
    assert table.best.point == standing.posterior.best_point
    means = [row.mean_fraction for row in table.ranked]
    there = [mean for mean in means if mean is not None]
    assert there == sorted(there, reverse=True)
    assert means[len(there) :] == [None] * (len(means) - len(there))


def test_the_study_of_points_is_beside_and_disturbs_nothing(searched):
    names = {study.study_name for study in open_journal(searched.study).get_all_studies()}
    assert names == {"runs", POINTS_STUDY}
    assert len(read_trials(searched).rows) == RUNS


def test_shares_of_the_noise_by_hand(standing):
    # Variances 25, 9, 1, 4 and 25 in a hundredth squared: of 64 in all, and 25 of 54 without fold and seed.
    seen = known(
        standing, smooth=0.03, nugget=0.04, fold=0.03, seed=0.01, point_fold=0.02, noise=0.05, noise_plain=0.06
    )
    parts = noise.components_of_noise(seen)
    assert [one.name for one in parts][:5] == ["between points", "fold", "seed", "point x fold", "noise"]
    assert [one.share for one in parts][:5] == pytest.approx([25 / 64, 9 / 64, 1 / 64, 4 / 64, 25 / 64])
    assert parts[5].share is None
    assert parts[5].deviation == pytest.approx(0.06)
    assert "46 % is between points" in noise.signal_sentence(seen)
    assert "it is 39 %: that is the share in the table and the figure" in noise.signal_sentence(seen)
    with house_style():
        bars = point_figures.noise_chart(parts[:5], "").axes[0]
    assert [bar.get_width() for bar in bars.patches][::-1] == pytest.approx([100 * n / 64 for n in (25, 9, 1, 4, 25)])
    assert [text.get_text().strip() for text in bars.texts][::-1] == ["39", "14", "2", "6", "39"]


@pytest.mark.parametrize("smooth", [0.0, 0.001])
def test_no_signal_is_said_and_no_share_invented(standing, searched, smooth):
    seen = known(standing, smooth=smooth, nugget=0.0, noise=0.05)
    assert "0 % is between points" in noise.signal_sentence(seen)
    assert "it is 0 %: that is the share in the table" in noise.signal_sentence(seen)
    found = noise.model_importance(seen, searched_ranges(searched.config))
    assert not found.shares
    assert "varies less over the space than it is uncertain" in found.note
    rows = noise.scalar_rows(
        seen, read_points(read_trials(searched), seen).best, searched_ranges(searched.config), found
    )
    assert [row[0] for row in rows] == ["delta", "theta_rep", "theta_pro", "beta"]
    assert {(row[3], row[4]) for row in rows} == {(None, "the whole range")}


def test_what_the_components_come_from_is_said(standing):
    points = standing.posterior.points
    repeated = sum(one.runs > 1 for one in points)
    begin = f"Estimated from {sum(one.runs for one in points)} runs of {len(points)} points ({repeated} with several"
    assert noise.counts_text(standing).startswith(begin)
    first = [run for run in standing.runs if run.number < 6]
    few = dataclasses.replace(standing, posterior=fit(first, standing.posterior._ranges))
    assert "so few say little of the components" in noise.counts_text(few)


@pytest.fixture(scope="module")
def two_arms(tmp_path_factory) -> ExperimentFolder:
    return made_arms(tmp_path_factory.mktemp("arms") / "hapt" / "delu" / "a", 10)


def test_the_plain_baseline_s_own_search_is_counted_and_its_curve_is_of_one_setting(two_arms):
    """Half of the runs are its: they are not none, and those of several learning rates have no mean in common."""
    standing = read_standing(two_arms)
    assert standing is not None
    text = noise.counts_text(standing)
    assert "0 of the plain baseline" not in text
    assert "The plain baseline's search of its own (5 runs of " in text
    write_outputs(two_arms)
    assert "search of its own (5 runs of" in page_of(two_arms)
    view = PointsView(two_arms, read_trials(two_arms))
    own = [run.record() for run in two_arms.trials() if run.record().role == "plain"]
    at_best = [record for record in own if record.point == view.plain_point]
    assert 0 < len(at_best) < len(own)
    with house_style():
        figure = learning_figure(two_arms, view.trials, view.best_point, MEASURE, view.plain_point)
        chart = point_figures.noise_chart([], "word " * 60)
        point_figures.caption_below(chart, "word " * 60)
        chart.draw_without_rendering()
        (caption,) = [text for text in chart.texts if text.get_text().startswith("word")]
        assert caption.get_window_extent().x1 <= chart.bbox.x1
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    runs = "1 run" if len(at_best) == 1 else f"{len(at_best)} runs"
    assert f"plain baseline's best point, mean of {runs}" in labels


def page_of(folder: ExperimentFolder) -> str:
    return (folder.path / "report.html").read_text()


def test_history_shows_runs_means_intervals_and_plain(searched, standing):
    table = read_points(read_trials(searched), standing)
    with house_style():
        axes = point_figures.point_history(table, standing, MEASURE).axes[0]
    marks = {
        group.get_label(): np.asarray(group.get_offsets()) for group in axes.collections if len(group.get_offsets())
    }
    usable = [run for run in standing.runs if run.usable and run.point is not None]
    adjusted = standing.posterior.adjusted
    expected = sorted((run.point, 100 * adjusted[run.number]) for run in usable)
    assert np.allclose(sorted(map(tuple, marks["run, adjusted"].tolist())), expected)
    best = table.best
    assert marks["best point by the model"].tolist() == [pytest.approx([best.point, 100 * best.mean_fraction])]
    assert marks["published values"].tolist() == [pytest.approx([0, 100 * table.points[0].mean_fraction])]
    segments = next(group.get_segments() for group in axes.collections if hasattr(group, "get_segments"))
    ends = {round(float(line[0][0])): [float(y) for _, y in line] for line in segments}
    assert ends[best.point] == pytest.approx([100 * best.low_fraction, 100 * best.high_fraction])
    level = next(line for line in axes.lines if str(line.get_label()).startswith("plain"))
    assert list(level.get_ydata()) == pytest.approx([100 * standing.posterior.plain.mean] * 2)
    assert axes.get_ylabel() == f"{MEASURE} (%)"


def test_slices_show_the_model_s_band_the_runs_and_the_flat_range(searched, standing):
    table = read_points(read_trials(searched), standing)
    with house_style():
        panels = point_figures.model_slices(table, standing, searched.config, MEASURE).axes
    assert [text.get_text() for text in panels[4].texts] == [r"tied to $\beta$"]
    assert [text.get_text() for text in panels[5].texts] == ["fixed at 1"]
    assert panels[3].get_xscale() == "log"
    by_label = {str(line.get_label()): line for line in panels[0].lines}
    places = by_label["model's mean"].get_xdata()
    mean, low, high = standing.posterior.slice("delta", np.asarray(places, dtype=float))
    assert list(by_label["model's mean"].get_ydata()) == pytest.approx(list(100 * mean))
    assert list(by_label["no difference seen"].get_xdata()) == pytest.approx(standing.posterior.flat_range("delta"))
    band = next(group for group in panels[0].collections if str(group.get_label()).startswith("95 %"))
    heights = band.get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == pytest.approx((100 * low.min(), 100 * high.max()))
    rings = next(group for group in panels[0].collections if str(group.get_label()).startswith("run"))
    usable = [run for run in standing.runs if run.usable and run.point is not None]
    assert sorted(x for x, _ in rings.get_offsets()) == pytest.approx(sorted(run.scalars["delta"] for run in usable))


def test_the_page_says_what_the_tables_say(searched, standing):
    page = (searched.path / "report.html").read_text()
    outline = Outline(page)
    assert len(outline.named("table")) == len(outline.named("caption")) == 5
    headings = re.findall(r"<h2[^>]*>([^<]*)</h2>", page)
    assert headings == [
        *("Verdict", "Selection", "Confirmation", "Learning curves"),
        *("Points", "Noise", "Parameters", "Runs", "Files", "Provenance"),
    ]
    best, plain = standing.ranked[0], standing.posterior.plain
    assert f"{100 * best.mean:.2f} % (standard deviation {100 * best.deviation:.2f}" in page
    assert f"{100 * plain.mean:.2f} % (standard deviation" in page
    row = re.search(r'<tr class="best"><th scope="row">(\d+)</th>', page)
    assert row is not None
    assert int(row.group(1)) == best.point
    assert page.count('<tr class="reference"><th scope="row">plain baseline</th>') == 1
    assert "published (paper scalars)" in page
    assert noise.signal_sentence(standing) in page.replace("&#x27;", "'")
    assert "never enter the verdict" in page
    assert "top1 is point 0, the published values (paper scalars)." in page
    identities = [attrs["id"] for _, attrs in outline.tags if attrs.get("id")]
    assert len(identities) == len(set(identities))
    for name in (*NAMES, "confirmation"):
        assert (searched.figures / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_what_a_reader_would_stumble_over_is_said(searched):
    page = (searched.path / "report.html").read_text()
    runs = page[page.index('id="runs"') : page.index('id="files"')]
    assert "psi_share: part of the snippets that SCS suppressed; mcm_share: part of the proposals" in runs
    seconds = [row.split("</td>")[-3] for row in runs.split("<tr>")[2:]]
    assert all(re.search(r">(\d+\.\d|—)$", cell) for cell in seconds), "one decimal, in a column of its own"
    files = page[page.index('id="files"') : page.index('id="provenance"')]
    assert '<a href="config.json">config.json</a>: all that was asked' in files
    assert '<a href="points.csv">points.csv</a>: the points' in files
    drawing = (searched.figures / "learning.svg").read_text()
    assert "thin: single runs" in drawing
    ends = re.findall(r"<!-- (\d+\.\d\d) -->", (searched.figures / "parallel.svg").read_text())
    assert len([end for end in ends if float(end) > 10]) == 2, "both ends of the value's ruler"


@pytest.mark.browser
@NEEDED
def test_no_caption_is_cut_in_a_narrow_window(searched, tmp_path):
    """A table that is wider than the window scrolls, and its caption stays inside what is seen of it.

    A table that scrolls up and down, too, loses the width of a scroll bar to it.
    """
    browser = Chromium(tmp_path / "profile", 800, 1000)
    try:
        browser.open((searched.path / "report.html").as_uri())
        script = "return [...document.querySelectorAll('caption')].map(e => e.getBoundingClientRect().right)"
        right = browser.run(script)
        browser.run(
            "for (const e of document.querySelectorAll('.scroll')) {"
            " e.classList.add('tall'); e.style.maxHeight = '6rem';"
            " e.querySelector('table').style.minWidth = '1500px'; }"
        )
        seen = browser.run(
            "return [...document.querySelectorAll('.scroll')].map(e => { const r = document.createRange();"
            " r.selectNodeContents(e.querySelector('caption'));"
            " return [e.getBoundingClientRect().left + e.clientWidth, r.getBoundingClientRect().right]; })"
        )
    finally:
        browser.close()
    assert len(right) == 5
    assert max(right) <= 800
    assert len(seen) == 5
    assert all(text <= edge for edge, text in seen)


LINES_OF_HEADINGS = """
return [...document.querySelectorAll('#points thead th')].map(e => {
  const text = document.createRange(); text.selectNodeContents(e);
  return [e.textContent, new Set([...text.getClientRects()].map(one => one.top)).size];
})"""


@pytest.mark.browser
@NEEDED
@pytest.mark.parametrize("width", [900, 1000])
def test_the_points_fit_a_narrow_window(searched, tmp_path, width):
    browser = Chromium(tmp_path / "profile", width, 1000)
    try:
        browser.open((searched.path / "report.html").as_uri())
        script = "const e = document.querySelector('#points .scroll'); return [e.scrollWidth, e.clientWidth]"
        needed, there = browser.run(script)
        lines = dict(browser.run(LINES_OF_HEADINGS))
    finally:
        browser.close()
    assert needed <= there
    assert {lines[word] for word in ("delta", "gamma", "lambda", "failed", "iteration")} == {1}, "no word is broken"


def test_outputs_of_points_are_the_same_bytes_twice(searched):
    names = ["report.html", "points.csv", "points.parquet", "trials.csv", "figures/slices.svg", "figures/history.png"]
    first = [(searched.path / name).read_bytes() for name in names]
    write_outputs(searched)
    assert [(searched.path / name).read_bytes() for name in names] == first


@pytest.mark.parametrize("ended", [0, 1, 2])
def test_a_search_that_has_hardly_begun_gives_every_output(tmp_path, ended):
    """Nothing has ended; plain alone; plain and one run of a point."""
    folder = new_points(tmp_path / "hapt" / "delu" / "a")
    ledger = replicate_ledger(folder, 8)
    for _ in range(ended):
        step(ledger)
    ledger.ask()
    write_outputs(folder)
    page = (folder.path / "report.html").read_text()
    Outline(page)
    for name in NAMES:
        if name == "importance":  # there is none yet, and a line says why
            assert not (folder.figures / f"{name}.svg").exists()
        else:
            assert (folder.figures / f"{name}.svg").read_text().startswith("<?xml")
    assert ended < 2 or "There are no shares, and no figure of them. The model" in page
    assert ("No run of a point has ended yet" in page) == (ended < 2)
    assert "1 interrupted" in page
    ledger.settle()


def test_only_failed_runs_are_points_without_numbers(tmp_path):
    folder = made_points(tmp_path / "hapt" / "delu" / "a", 4, failing=(0, 1, 2, 3))
    write_outputs(folder)
    lines = lines_of(folder.path / "points.csv")
    assert {line["mean_fraction"] for line in lines} == {""}
    states = [line["state"] for line in lines_of(folder.path / "trials.csv")]
    assert sum(int(line["failed_runs"]) for line in lines) == states.count("failed") == 3, (
        "given up: plain failed twice"
    )


def test_with_the_paper_s_protocol_a_replicate_is_a_seed(tmp_path):
    folder = made_points(tmp_path / "hapt" / "delu" / "a", 6, protocol="paper")
    write_outputs(folder)
    lines = lines_of(folder.path / "trials.csv")
    assert {line["fold"] for line in lines} == {""}
    page = (folder.path / "report.html").read_text()
    assert "on test" in page
    assert "selection has seen what they are measured on" in page


def test_a_probability_is_never_certain():
    assert [html.probability(value) for value in (0.0, 0.004, 0.5, 0.996, 1.0)] == [
        "< 0.01",
        "< 0.01",
        "0.50",
        "> 0.99",
        "> 0.99",
    ]


def widest_table() -> str:
    """Of the points of a search that varies all that can be varied, the plain baseline's own points first."""
    further = [name for name in SEARCHABLE if name not in SCALARS]
    columns = ["point", "from", *SCALARS, *further, "runs", "failed", "mean %", "± sd", "95 % low", "high"]
    columns += ["P(better)", "P(best)", "iteration"]
    scalars, rest = [html.Number("0.0223")] * len(SCALARS), [html.Number("0.000123")] * len(further)
    numbers = [html.Number(text) for text in ("12", "0", "56.98", "0.51", "55.98", "57.97", "> 0.99", "< 0.01", "5000")]
    row = ["published (released scalars)", *scalars, *rest, *numbers]
    return html.data_table("All points.", columns, [["plain baseline 12", *row], [107, *row]])


@pytest.mark.browser
@NEEDED
def test_no_table_runs_over_the_edge(searched, tmp_path):
    """Of a window 1300 pixels wide, with either policy."""
    error = "loss/mil is not finite at iteration 60 of this run, which ends it"
    scripts = [Script(scores={50: 0.4123456 + 0.0123456 * number}, psi_shares=(0.2345,)) for number in range(9)]
    single = make_experiment(tmp_path / "hapt" / "delu" / "single", [*scripts, Script("failed", error=error)])
    for seed in range(3):
        add_confirmation(single, "baseline", seed, made_table(0.6, seed), number=seed)
        add_confirmation(single, "top1", seed, made_table(0.64, 10 + seed), number=3 + seed)
    write_outputs(single)
    many = html.Page("everything is searched", "")
    many.add("points", "Points", widest_table())
    (tmp_path / "many.html").write_text(many.render())
    pages = [*(folder.path / "report.html" for folder in (searched, single)), tmp_path / "many.html"]
    browser = Chromium(tmp_path / "profile", 1300, 1000)
    try:
        for page in pages:
            browser.open(page.as_uri())
            script = "return [...document.querySelectorAll('.scroll')].map(e => [e.clientWidth, e.scrollWidth])"
            widths = browser.run(script)
            assert len(widths) > 1 or page == pages[-1]
            assert [needed for given, needed in widths if needed > given] == []
            assert browser.run("return document.documentElement.scrollWidth") <= 1300
    finally:
        browser.close()


def test_fair_scores_are_what_the_rings_stand_for(standing):
    """Adjusted scores differ from fair ones by effects that runs of one fold and seed share."""
    fair, adjusted = fair_scores(standing.runs), standing.posterior.adjusted
    effects: dict[object, set[float]] = {}
    for run in standing.runs:
        if run.number in fair:
            effects.setdefault(run.replicate, set()).add(round(fair[run.number].value - adjusted[run.number], 9))
    assert all(len(found) == 1 for found in effects.values())
    assert not math.isclose(max(map(max, effects.values())), min(map(min, effects.values())))
    assert isinstance(standing.posterior.hyper, Hyper)
