"""Pictures and the page of a search, from studies of every kind; what is shown equals what was measured."""

from __future__ import annotations

import csv
import json
import re
from html.parser import HTMLParser

import pytest
from chromium import NEEDED, Chromium
from made_experiments import Script, add_confirmation, made_table, make_experiment

from dce_ray.config import SCALARS
from dce_ray.experiment.record import PLAIN, RunRecord
from dce_ray.files import write_json
from dce_ray.report import figures, html
from dce_ray.report.acting import idle_lines
from dce_ray.report.captions import selection_text
from dce_ray.report.confirmation import settings_table, write_confirmation
from dce_ray.report.measured import Measured, confirmed_settings
from dce_ray.report.page import write_outputs
from dce_ray.report.rendering import html_table
from dce_ray.report.style import house_style
from dce_ray.report.trial_table import read_trials
from dce_ray.tracking.content import NOTE_TAG, search_content
from dce_ray.verdict.verdict import Verdict
from tests.verdict.confirmed import RUN, add_runs
from tests.verdict.confirmed import candidate as made_candidate

NAMES = ("history", "parallel", "importance", "slices")
STUDIES = {
    "empty": [],
    "one trial": [Script(scores={50: 0.4})],
    "none finished": [Script("pruned", scores={50: 0.4}), Script("failed", error="x"), Script("running")],
    "only failed": [Script("failed", error="a < b & c")],
    "not a number": [Script(scores={50: float("nan"), 100: 0.2}), Script("failed", scores={50: float("nan")})],
    "equal values": [Script(scores={50: 0.4})] * 9,
    "mixed": [Script(scores={50: 0.4 + 0.01 * n}, origin="paper" if n == 0 else None) for n in range(9)]
    + [Script("pruned", scores={50: 0.2}), Script("failed", error="x")],
}


class Outline(HTMLParser):
    """Tags in order with their attributes; fails on tags that are closed out of order."""

    VOID = ("meta", "br", "wbr", "img", "link", "path", "use", "rect")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)
        assert not self.stack

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "wbr"):
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def named(self, name: str) -> list[dict[str, str | None]]:
        return [attrs for tag, attrs in self.tags if tag == name]


@pytest.mark.parametrize(("kind", "fixed"), [(kind, {}) for kind in STUDIES] + [("mixed", dict.fromkeys(SCALARS, 0.5))])
def test_every_study_gives_every_output(tmp_path, kind, fixed):
    folder = make_experiment(tmp_path / "hapt" / "delu" / "a", STUDIES[kind], fixed=fixed)
    write_outputs(folder)
    page = (folder.path / "report.html").read_text()
    Outline(page)
    nothing = "<p>Importance: Not defined: " in page  # a line says why, in the figure's place
    for name in [one for one in NAMES if one != "importance" or not nothing]:
        assert (folder.figures / f"{name}.svg").read_text().startswith("<?xml")
        assert (folder.figures / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert (folder.figures / "importance.png").exists() == ("importance" in page and not nothing)
    assert "The confirmation has not begun" in page
    assert "verdict: none yet" in page
    assert f"-m dce_ray.search resume={folder.path}</pre>" in page[page.index("verdict: none yet") :]
    assert not (folder.figures / "confirmation.png").exists()


@pytest.fixture(scope="module")
def confirmed(tmp_path_factory):
    """A confirmed search with its outputs, ranked on test."""
    path = tmp_path_factory.mktemp("confirmed") / "hapt" / "delu" / "a"
    folder = make_experiment(path, STUDIES["mixed"], protocol="paper")
    for seed in range(3):
        add_confirmation(folder, "baseline", seed, made_table(0.6, seed), number=seed)
        add_confirmation(folder, "top1", seed, made_table(0.64, 10 + seed) if seed else None, number=3 + seed)
    write_outputs(folder)
    return folder


def test_confirmation_on_the_page_equals_the_tables(confirmed):
    folder = confirmed
    page = (folder.path / "report.html").read_text()
    plain = [made_table(0.6, seed).averages["0.1:0.7"] for seed in range(3)]
    ours = [made_table(0.64, 10 + seed).averages["0.1:0.7"] for seed in (1, 2)]
    differences = [ours[0] - plain[1], ours[1] - plain[2]]
    assert f">{100 * sum(plain) / 3:.1f} <span" in page
    assert f">+{100 * sum(differences) / 2:.1f} <span" in page
    assert "±" not in re.sub(r"<ul class=.notes.*?</ul>", "", page)  # nothing was planned yet: all of it describes
    assert "top1: 2 of 3 seeds finished" in page
    assert (folder.figures / "confirmation.svg").is_file()
    assert [(one.name, sorted(one.scores), one.planned) for one in confirmed_settings(folder)] == [
        ("baseline", [0, 1, 2], 3),
        ("top1", [1, 2], 3),
    ]


def test_the_verdict_stands_on_top_and_gives_the_one_interval(tmp_path):
    folder = make_experiment(tmp_path / "hapt" / "delu" / "a", STUDIES["mixed"])
    for seed in range(3):
        add_confirmation(folder, "baseline", seed, made_table(0.6, seed), number=seed)
        add_confirmation(folder, "top1", seed, made_table(0.64, 10 + seed), number=3 + seed)
    sentence = "verdict: better: top1 beats <everything>."
    verdict = Verdict("better", sentence, gain=4.0, low=1.25, high=6.75, deviation=1.0, pairs=3)
    write_json(folder.confirmation, {"winner": "top1", "verdict": verdict.to_mapping()})
    write_outputs(folder)
    page = (folder.path / "report.html").read_text()
    assert page.index("verdict: better: top1 beats &lt;everything&gt;.") < page.index('id="selection"')
    assert re.findall(r">([^<]*) <span class=.spread.>(± [^<]*)<", page) == [("+4.0", "± 2.8")]
    assert "95 % interval of the planned comparison" in (folder.figures / "confirmation.svg").read_text()


def test_the_page_needs_no_network_and_its_tables_can_be_read_aloud(confirmed):
    page = (confirmed.path / "report.html").read_text()
    outline = Outline(page)
    assert not outline.named("script")
    assert not outline.named("link")
    beside = {path.name for path in confirmed.path.iterdir()}
    linked = {attrs.get(name) or "#" for _, attrs in outline.tags for name in ("src", "href", "xlink:href")}
    assert {name for name in linked if not name.startswith("#")} <= beside, "files of the folder, and nothing else"
    assert {"config.json", "trials.csv", "figures"} <= linked
    assert "url(http" not in page
    assert outline.named("html") == [{"lang": "en"}]
    assert len(outline.named("caption")) == len(outline.named("table")) == 2
    assert all(attrs.get("scope") in ("col", "row", "colgroup", "rowgroup") for attrs in outline.named("th"))
    assert all(attrs.get("aria-label") for attrs in outline.named("svg"))
    identities = [attrs["id"] for _, attrs in outline.tags if attrs.get("id")]
    assert len(identities) == len(set(identities))
    references = set(re.findall(r'(?:href="#|url\(#)([^")]+)', page))
    assert references <= set(identities)


def test_the_plain_baselines_one_run_is_drawn_beside_the_best_trials(tmp_path):
    folder = make_experiment(tmp_path / "hapt" / "delu" / "a", [Script(scores={50: 0.4, 100: 0.5})])
    plain = folder.trial("plain")
    plain.write(RunRecord("plain", "plain", "baseline", 0, "finished", folder.config["run"], 0, value=0.3))
    for iteration, score in ((50, 0.2), (100, 0.3)):
        plain.append(iteration, {"score": score})
    write_outputs(folder)
    assert "plain baseline, mean of 1 run" in (folder.figures / "learning.svg").read_text()


def test_the_mark_of_the_best_trial_is_whole(tmp_path):
    folder = make_experiment(
        tmp_path / "hapt" / "delu" / "a", [Script(scores={50: score}) for score in (0.2, 0.3, 0.5, 0.4)]
    )
    with house_style():
        panel = figures.slices(read_trials(folder), "mAP").axes[0]
    low, high = panel.get_ylim()
    assert (50 - low) / (high - low) < 0.92, "room for half a star above it"


def test_the_page_shows_text_and_never_runs_it(tmp_path):
    folder = make_experiment(
        tmp_path / "hapt" / "delu" / "a", [Script("failed", error="<script>alert(1)</script> & co")]
    )
    write_outputs(folder)
    page = (folder.path / "report.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; co" in page


def test_outputs_are_the_same_bytes_twice(confirmed):
    folder = confirmed
    names = ["report.html", "trials.csv", "trials.parquet", "figures/history.svg", "figures/confirmation.png"]
    first = [(folder.path / name).read_bytes() for name in names]
    write_outputs(folder)
    assert [(folder.path / name).read_bytes() for name in names] == first


@pytest.mark.parametrize(
    ("protocol", "metric", "words"),
    [
        ("holdout", "detection", "used their temporal labels"),
        ("holdout", "classification", "strictly weakly supervised"),
        ("paper", "detection", "ranked on the test videos"),
    ],
)
def test_the_page_says_which_supervision_selected(protocol, metric, words):
    assert words in selection_text(protocol, metric)


def test_the_page_of_a_search_ranked_on_test_says_so_at_its_numbers(confirmed):
    page = (confirmed.path / "report.html").read_text()
    assert selection_text("paper", "detection") in page
    assert re.search(r"<caption>[^<]*settings and iterations were selected on the test set", page)


def test_a_figure_that_no_longer_has_anything_to_show_is_removed(tmp_path):
    folder = make_experiment(tmp_path / "hapt" / "delu" / "a", STUDIES["empty"])
    folder.figures.mkdir()
    (folder.figures / "importance.png").write_bytes(b"of before")
    write_outputs(folder)
    assert not (folder.figures / "importance.png").exists()
    assert (folder.figures / "history.png").exists()


def test_components_that_never_acted_are_told(tmp_path):
    scripts = [Script(scores={3: 0.4}, params={"delta": 0.5 + number / 10}) for number in range(3)]
    folder = make_experiment(tmp_path / "hapt" / "delu" / "a", scripts)
    assert idle_lines(folder) == []  # nothing was read
    for run, shares in zip(folder.trials(), ([0.0, 0.0], [0.0, 0.1], [0.0]), strict=True):
        for number, share in enumerate(shares):
            run.append(10 + number, {"mcm_share": share, "psi_share": 0.2})
    (line,) = idle_lines(folder)
    assert line.startswith("MCM had no proposal to act on in 2 of 3 runs (mcm_share=0 at every reading)")
    write_outputs(folder)
    assert f'<p class="notice">{line}.</p>' in (folder.path / "report.html").read_text()


def test_the_trials_stand_in_words_and_short_numbers(tmp_path):
    """No column is named as in trials.csv, and a value is a percentage with two decimals as everywhere."""
    scripts = [Script(scores={50: 0.41234567}, psi_shares=[0.25]), Script("failed", error="out of memory")]
    folder = make_experiment(tmp_path / "hapt" / "delu" / "a", scripts)
    write_outputs(folder)
    page = (folder.path / "report.html").read_text()
    table = page[page.index('id="trials"') : page.index('id="files"')]
    headings = re.findall(r"<th scope=.col.[^>]*>(.*?)</th>", table)
    assert [re.sub("<wbr>", "", one) for one in headings] == [
        *("trial", "state", "from", *SCALARS, "value %", "read at", "iterations", "psi_share", "mcm_share"),
        *("seconds", "error"),
    ]
    first, second = [row.split("<td") for row in table.split("<tr")[2:]]
    assert ">41.23<" in first[9]
    assert ">50<" in first[10]
    assert ">0.2500<" in first[12]
    assert "value_fraction" not in table
    assert "out of memory" in second[-1]
    scalars = [re.findall(r">([^<>]+)<", cell)[0] for cell in first[3:9]]
    assert scalars == [f"{read_trials(folder).rows[0].parameter(name):.3g}" for name in SCALARS]


def test_a_tiny_holdout_is_told_and_the_verdict_stands_first(tmp_path):
    folder = make_experiment(tmp_path / "hapt" / "delu" / "a", STUDIES["empty"])
    for sizes, told in (([3, 4], True), ([10, 12], False)):
        folder.keep_config(folder.config | {"holdout_videos": sizes})
        write_outputs(folder)
        page = (folder.path / "report.html").read_text()
        assert ("the holdout has only 3 to 4 videos" in page) == told
        assert re.findall(r'<section id="(\w+)"', page)[0] == "verdict"


@pytest.mark.browser
@NEEDED
@pytest.mark.parametrize("width", [900, 1300])
def test_the_confirmation_fits_the_page(tmp_path, width):
    """With numbers as wide as they come: two digits before the point, in the deviations as well."""
    folder = make_experiment(tmp_path / "hapt" / "delu" / "a", STUDIES["mixed"])
    columns = [f"mAP@0.{number}" for number in range(1, 10)] + ["avg_0.1_0.5", "avg_0.3_0.7", "avg_0.1_0.7"]
    settings = [
        Measured(name, {seed: dict.fromkeys(columns, 0.5 + 0.12 * seed * sign) for seed in range(3)}, 3)
        for name, sign in (("top1", 1), ("top2", -1), ("paper", 1), ("released", 1), ("baseline", 0))
    ]
    verdict = Verdict("undecided", "verdict: x.", gain=-12.0, low=-25.5, high=1.5, deviation=12.0, pairs=3)
    page = html.Page("a", "b")
    page.add("confirmation", "Confirmation", html_table(settings_table(folder, settings, verdict)))
    (tmp_path / "page.html").write_text(page.render())
    browser = Chromium(tmp_path / "profile", width)
    try:
        browser.open((tmp_path / "page.html").as_uri())
        script = "const e = document.querySelector('.scroll'); return [e.scrollWidth, e.clientWidth]"
        needed, there = browser.run(script)
    finally:
        browser.close()
    assert needed <= there


def told_of(folder):
    """Everything that people read of a confirmation, by format."""
    return {
        ending: folder.confirmation.with_suffix(ending).read_text() for ending in (".md", ".csv", ".tex", ".json")
    } | {
        "page": (folder.path / "report.html").read_text(),
        "figure": (folder.figures / "confirmation.svg").read_text(),
        "record": " ".join(run.record().label for run in folder.confirmations()),
        "verdict": Verdict.read(folder).text,
        "description": search_content(folder, [], live=False, identity="x").tags[NOTE_TAG],
    }


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """A confirmation with both planned comparisons decided: top1 and top2, published scalars, the plain baseline."""
    folder = make_experiment(tmp_path_factory.mktemp("compared") / "hapt" / "delu" / "a", STUDIES["mixed"])
    confirm = {"top": 2, "seeds": 3, "precision": None, "max_seeds": 20}
    write_json(folder.path / "config.json", {**folder.config, "run": dict(RUN), "confirm": confirm})
    scores = {"top1": [47, 49.5, 52], "top2": [44, 43, 49], "released": [41, 42.5, 46], PLAIN: [40, 42, 44]}
    candidates = [made_candidate(name, name if name == "released" else "search") for name in scores]
    for one, percents in zip(candidates, scores.values(), strict=True):
        add_runs(folder, one, percents)
    write_confirmation(folder, candidates)
    write_outputs(folder)
    return folder


def test_released_scalars_are_called_what_they_are_in_every_table(compared):
    texts = told_of(compared)
    for where, text in texts.items():
        shown = re.sub(r'"(name|setting|origin)": "released"|released scalars', "", text)
        assert "released scalars" in text, where
        assert not re.search(r"\breleased\b", shown), where
    for where in (".md", ".tex", ".json", "page"):
        assert "own readings (target, epsilon, interval ends, iterations)" in texts[where], where


def test_intervals_stand_with_the_two_planned_comparisons_alone(compared):
    verdict = Verdict.read(compared)
    first, second = verdict.planned_comparison, verdict.published
    assert (verdict.outcome, second.outcome, second.setting) == ("better", "better", "released")
    texts = told_of(compared)
    pair = re.compile(r"\[[+-][\d.]+, [+-][\d.]+\]")
    planned = {f"[{one.low:+.2f}, {one.high:+.2f}]" for one in (first, second)}
    for where in ("verdict", "description"):
        assert set(pair.findall(texts[where])) == planned, where
    table, _, words = texts[".md"].partition("verdict: ")
    assert pair.findall(table) == [f"[{first.low:+.2f}, {first.high:+.2f}]"]
    assert set(pair.findall(words)) == planned
    half = f"{first.half_width:.1f}"
    assert re.findall(r"\d ± ([\d.]+)", table) == [half]
    assert re.findall(r"pm ([\d.]+)", texts[".tex"]) == [half]
    assert re.findall(r"spread.>± ([\d.]+)<", texts["page"]) == [half]
    assert set(pair.findall(texts["page"])) == planned
    lines = [line for line in csv.DictReader(texts[".csv"].splitlines()) if line["low"] or line["high"]]
    assert [(line["group"], line["label"], line["column"]) for line in lines] == [
        ("top1", "difference to baseline", "avg_0.1_0.7")
    ]
    assert [float(lines[0][end]) for end in ("low", "high")] == pytest.approx([first.low, first.high])
    content = json.loads(texts[".json"])
    cells = [
        cell
        for entry in content["configurations"]
        for kind in ("test_percent", "difference_percent")
        for cell in entry[kind].values()
    ]
    assert cells
    assert {cell["half_width"] for cell in cells} == {None}
