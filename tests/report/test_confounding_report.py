"""Gains over the dial of confounding: draws, seeds and pairs by hand; the table, the answer and the figure."""

from __future__ import annotations

import math

import pytest

from dce_ray.config import MethodConfig
from dce_ray.report.confounding import Gains, confounding_figure, confounding_table, sentence
from dce_ray.report.rendering import FORMATS, markdown
from dce_ray.report.style import house_style, write_figure

ARMS = ("baseline", "scs", "mcm", "scs+mcm")
METHOD = MethodConfig().to_mapping()
T_2 = 4.302653
"""Student's t, 97.5 %, of two degrees of freedom."""


def scores(percent):
    return {"mAP@0.5": percent / 200, "avg_0.1_0.7": percent / 100}


def made(gains_at, levels=("none", "strong"), draws=3, seeds=1):
    """Gains of all arms: ``gains_at[level][draw]`` for SCS + MCM, half of it for SCS, none for MCM."""
    gains = Gains(levels, ARMS, draws, seeds)
    for level, by_draw in gains_at.items():
        for draw, gain in by_draw.items():
            for seed in range(seeds):
                plain = 60 + 3 * draw + seed
                for arm, part in zip(ARMS, (0, 0.5, 0, 1), strict=True):
                    gains.add(level, arm, draw, seed, scores(plain + part * gain))
    return gains


def test_the_interval_is_over_draws_by_hand():
    gains = made({"strong": {100: 1.0, 101: 2.0, 102: 6.0}})
    gain = gains.gain("strong", "scs+mcm")
    assert gain["avg_0.1_0.7"].mean == pytest.approx(3.0)
    assert gain["avg_0.1_0.7"].deviation == pytest.approx(math.sqrt(7))  # (4 + 1 + 9) / 2
    assert gain["avg_0.1_0.7"].half_width == pytest.approx(T_2 * math.sqrt(7 / 3), rel=1e-6)
    assert gain["mAP@0.5"].mean == pytest.approx(1.5)
    assert gains.gain("strong", "scs")["avg_0.1_0.7"].mean == pytest.approx(1.5)
    assert gains.gain("strong", "mcm")["avg_0.1_0.7"].half_width == pytest.approx(0.0, abs=1e-9)


def test_a_draw_counts_once_however_many_seeds_it_has():
    gains = Gains(("strong",), ARMS, 2, 3)
    for seed, gain in enumerate((0.0, 3.0, 6.0)):
        gains.add("strong", "baseline", 100, seed, scores(50))
        gains.add("strong", "scs", 100, seed, scores(50 + gain))
    gains.add("strong", "baseline", 101, 0, scores(70))
    gains.add("strong", "scs", 101, 0, scores(71))
    found = gains.gain("strong", "scs")["avg_0.1_0.7"]
    assert (found.count, found.mean) == (2, pytest.approx(2.0))  # of 3 and 1; over runs it would be 2.5
    assert found.deviation == pytest.approx(math.sqrt(2))


def test_only_pairs_count():
    gains = Gains(("strong",), ARMS, 3, 2)
    for draw, seed, arm, value in [
        (100, 0, "baseline", 50),
        (100, 0, "scs", 52),
        (100, 1, "scs", 90),  # its plain run failed
        (101, 0, "baseline", 60),
        (101, 1, "scs", 80),  # another seed
        (102, 0, "scs", 80),
    ]:
        gains.add("strong", arm, draw, seed, scores(value))
    assert {draw: round(values["avg_0.1_0.7"], 6) for draw, values in gains.gain_values("strong", "scs").items()} == {
        100: 2.0
    }
    assert gains.gain("strong", "scs")["avg_0.1_0.7"].half_width is None


def test_more_than_without_confounders_is_paired_by_draw():
    gains = made({"none": {100: 1.0, 101: 5.0, 103: 9.0}, "strong": {100: 2.0, 101: 8.0, 102: 50.0}})
    more = gains.more_than_reference("strong", "scs+mcm")["avg_0.1_0.7"]
    assert (more.count, more.mean) == (2, pytest.approx(2.0))  # 2 - 1 and 8 - 5
    assert more.deviation == pytest.approx(math.sqrt(2))


def test_the_plain_level_is_a_mean_over_seeds_then_draws():
    gains = made({"none": {0: 0.0, 2: 0.0}}, seeds=2)
    values = gains.level_values("none")
    assert {draw: round(value["avg_0.1_0.7"], 6) for draw, value in values.items()} == {0: 60.5, 2: 66.5}


def table_of(gains):
    return confounding_table(gains, "delu", "bench", dict.fromkeys(gains.levels, "its title"), METHOD)


def test_the_table_has_every_line_and_intervals_where_they_were_planned_alone():
    table = table_of(made({"none": {0: 1.0, 1: 2.0}, "strong": {0: 3.0, 1: 2.0}}))
    labels = [(row.group, row.label, row.difference) for row in table.rows]
    gains = ["gain of + SCS", "gain of + MCM", "gain of + SCS + MCM"]
    more = ["+ SCS: more than at none", "+ MCM: more than at none", "+ SCS + MCM: more than at none"]
    assert labels == [
        *(("none", text, text != "plain baseline") for text in ("plain baseline", *gains)),
        *(("strong", text, text != "plain baseline") for text in ("plain baseline", *gains, *more)),
    ]
    for row in table.rows:
        assert row.cells["mAP@0.5"].half_width is None
        assert (row.cells["avg_0.1_0.7"].half_width is None) == (not row.difference)
    whole = next(row for row in table.rows if row.group == "strong" and row.label == gains[-1])
    assert (whole.seeds, round(whole.cells["avg_0.1_0.7"].mean, 6)) == (2, 2.5)


def test_the_table_counts_draws_and_says_what_is_missing():
    table = table_of(made({"none": {0: 1.0, 1: 2.0}, "strong": {0: 3.0, 1: 2.0}}))
    assert "16 of 24 runs finished." in table.notes
    header = next(line for line in markdown(table).splitlines() if "source" in line)
    assert [cell.strip() for cell in header.split("|")][4] == "draws"
    for suffix, render in FORMATS.values():
        assert "draws" in render(table).replace("draws of", ""), suffix
    whole = table_of(made({"none": {0: 1.0, 1: 2.0, 2: 0.0}, "strong": {0: 3.0, 1: 2.0, 2: 0.0}}))
    assert not any("finished" in note for note in whole.notes)


def test_the_table_says_what_psi_marked():
    gains = made({"none": {0: 1.0, 1: 2.0}, "strong": {0: 3.0, 1: 2.0}})
    assert not any("Psi" in note for note in table_of(gains).notes)
    for level, arm, share in [
        ("strong", "scs+mcm", 0.01),
        ("strong", "scs+mcm", 0.03),
        ("strong", "scs", 0.5),
        ("none", "scs+mcm", 0.125),
        ("none", "scs+mcm", None),
    ]:
        gains.add_marked(level, arm, share)
    assert table_of(gains).notes[-2] == (
        "What Psi marked of the snippets at the end of + SCS + MCM: none 12.5 %, strong 2.0 %."
    )


@pytest.mark.parametrize(
    ("none", "strong", "words"),
    [
        ((0.0, 0.1, -0.1), (4.0, 4.1, 4.2), ["+4.1 [+3.9, +4.3]", ": they help.", ": they do more with context."]),
        ((0.0, 0.1, -0.1), (-4.0, -4.1, -4.2), [": they harm.", ": they do less with context."]),
        ((4.0, 4.1, 4.2), (4.0, 4.1, 4.2), [": they help.", "+0.0 [+0.0, +0.0]", ": no difference is shown."]),
        ((0.0, 0.1, -0.1), (5.0, -5.0, 1.0), [": nothing is decided.", ": no difference is shown."]),
    ],
)
def test_the_answer_follows_the_two_planned_intervals(none, strong, words):
    gains = made({"none": dict(enumerate(none)), "strong": dict(enumerate(strong))})
    text = sentence(gains)
    assert [word for word in words if word not in text] == []
    assert "(3 draws)" in text


def test_the_answer_says_what_was_not_measured():
    assert "undecided" in sentence(made({}))
    assert "undecided" in sentence(made({"strong": {0: 1.0}}))
    assert "not measured (level none)" in sentence(made({"strong": {0: 1.0, 1: 1.5}}))


@pytest.mark.parametrize("by_level", [{}, {"strong": {0: 1.0}}, {"none": {0: 1.0, 1: 2.0}, "strong": {0: 3.0, 1: 2.0}}])
def test_the_figure_draws_from_nothing_to_all(tmp_path, by_level):
    with house_style():
        drawing = confounding_figure(made(by_level), "delu")
        write_figure(drawing, tmp_path, "confounding")
    assert (tmp_path / "confounding.png").read_bytes().startswith(b"\x89PNG")
    texts = [text.get_text() for text in drawing.findobj(lambda artist: hasattr(artist, "get_text"))]
    if not by_level:
        assert any("No run is finished yet" in text for text in texts)
        return
    assert any("percentage points" in text for text in texts)
    assert any("one draw of the generator" in text for text in texts)
    assert {"+ SCS", "+ MCM", "+ SCS + MCM", "none", "strong"} <= set(texts)
    assert ("missing" in texts) == ("none" not in by_level)


def test_the_figure_shows_the_estimates():
    gains = made({"none": {0: 1.0, 1: 2.0}, "strong": {0: 3.0, 1: 2.0}})
    with house_style():
        upper, lower = confounding_figure(gains, "delu").axes
    means = sorted(
        round(float(line.get_ydata()[0]), 6)
        for line in upper.lines
        if len(line.get_ydata()) == 1 and line.get_marker() in "os^"
    )
    assert means == [0.0, 0.0, 0.75, 1.25, 1.5, 2.5]  # MCM nothing, SCS half, both all of it
    plain = [
        float(line.get_ydata()[0]) for line in lower.lines if len(line.get_ydata()) == 1 and line.get_marker() == "s"
    ]
    assert [round(value, 6) for value in plain] == [61.5, 61.5]
