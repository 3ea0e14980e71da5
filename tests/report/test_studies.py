"""What each ablation compares, and its table and figure from made numbers."""

from __future__ import annotations

import pytest
from made_experiments import AVERAGES, made_table

from dce_ray import ablate
from dce_ray.config import MethodConfig
from dce_ray.errors import ConfigError
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.experiment.record import components_of
from dce_ray.files import write_json
from dce_ray.report.measured import Measured, gather, score_columns
from dce_ray.report.studies import STUDIES, Context, study_figure, study_settings, study_table
from dce_ray.report.style import house_style, write_figure
from dce_ray.report.tables import MEASURED, PRINTED

METHOD = MethodConfig().to_mapping()


def context(study, baseline="ddgnet", data="thumos14", protocol="confirm"):
    return Context(study, baseline, data, protocol, METHOD)


def made(settings, seeds=3):
    return [
        Measured(
            setting.name,
            {seed: score_columns(made_table(0.6 + 0.02 * place, 100 * place + seed)) for seed in range(seeds)},
            seeds,
        )
        for place, setting in enumerate(settings)
    ]


def test_components_are_the_four_of_figure_5():
    settings = study_settings("components", METHOD)
    assert [(one.name, one.changes["scs"], one.changes["mcm"]) for one in settings] == [
        ("baseline", False, False),
        ("scs", True, False),
        ("mcm", False, True),
        ("scs+mcm", True, True),
    ]
    assert [components_of(one.changes) for one in settings] == [one.name for one in settings]


def test_psi_has_the_paper_lines_with_both_components():
    settings = study_settings("psi", METHOD)
    assert [one.name for one in settings] == ["baseline", "threshold", "difference", "minmax", "ratio"]
    assert all(one.changes["method"] == {"strategy": one.name} for one in settings[1:])
    assert {components_of(one.changes) for one in settings[1:]} == {"scs+mcm"}


def test_lambda_goes_from_0_to_1_in_tenths():
    settings = study_settings("lambda", METHOD)
    assert [one.value for one in settings] == [None, 0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    assert settings[2].changes["method"] == {"lambda": 0.1}


def test_thresholds_vary_one_at_a_time_and_hold_the_run_s_own_value():
    settings = study_settings("thresholds", METHOD, [0.5, 0.9])
    assert [(one.parameter, one.value) for one in settings[1:]] == [
        *(("delta", value) for value in (0.5, 0.7, 0.9)),
        *(("theta_rep", value) for value in (0.5, 0.8, 0.9)),
        *(("theta_pro", value) for value in (0.5, 0.55, 0.9)),
    ]
    assert all(list(one.changes["method"]) == [one.parameter] for one in settings[1:])


def test_unknown_studies_and_useless_values_are_refused():
    with pytest.raises(ConfigError, match="did you mean components"):
        study_settings("component", METHOD)
    with pytest.raises(ConfigError, match="sweeps no number"):
        study_settings("psi", METHOD, [0.5])


def test_table_5_keeps_the_printed_lines_apart():
    table = study_table(context("psi"), made(study_settings("psi", METHOD)))
    assert [row.source for row in table.rows] == [MEASURED] * 9 + [PRINTED] * 5
    assert table.rows[-1].cells["avg_0.1_0.7"].mean == 48.2
    assert any("the paper does not print their own cuts" in note for note in table.notes)


def test_other_data_get_no_printed_lines():
    for other in (context("psi", baseline="delu"), context("psi", data="hapt")):
        assert {row.source for row in study_table(other, made(study_settings("psi", METHOD))).rows} == {MEASURED}


def test_differences_are_to_the_plain_baseline():
    measured = made(study_settings("components", METHOD))
    table = study_table(context("components"), measured)
    row = next(row for row in table.rows if row.group == "scs+mcm" and row.difference)
    ours, plain = measured[3].scores, measured[0].scores
    expected = 100 * sum(ours[seed]["mAP@0.5"] - plain[seed]["mAP@0.5"] for seed in range(3)) / 3
    assert row.cells["mAP@0.5"].mean == pytest.approx(expected)
    assert table.columns[-3:] == tuple(f"avg_{name.replace(':', '_')}" for name in AVERAGES)


def test_selection_on_test_is_said():
    measured = made(study_settings("components", METHOD))
    notes = study_table(context("components", protocol="paper"), measured).notes
    assert any("selected on test" in note for note in notes)
    assert not any("selected on test" in note for note in study_table(context("components"), measured).notes)


@pytest.mark.parametrize("study", STUDIES)
@pytest.mark.parametrize("seeds", [0, 1, 3])
def test_every_study_draws_from_nothing_to_three_seeds(tmp_path, study, seeds):
    settings = study_settings(study, METHOD)
    with house_style():
        drawing = study_figure(context(study), settings, made(settings, seeds), {"delu": made(settings, seeds)})
        write_figure(drawing, tmp_path, study)
    assert (tmp_path / f"{study}.svg").stat().st_size > 1000
    assert (tmp_path / f"{study}.png").read_bytes().startswith(b"\x89PNG")
    texts = [text.get_text() for text in drawing.findobj(lambda artist: hasattr(artist, "get_text"))]
    if seeds:
        assert any(f"{seeds} seed" in text for text in texts)
        assert any("(%)" in text for text in texts)


def test_a_component_that_never_acted_is_told_at_the_ablation_too(tiny_store, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    ablation, store = ablate.build({"study": "components", "data": str(tiny_store), "baseline": "delu", "seeds": 2})
    place = tmp_path / "results" / "synthetic" / "delu" / "ablation"
    folder = ExperimentFolder.create(place, {"kind": "ablation", "run": ablation.run.to_mapping()}, {})
    plan = ablation.planned(folder, store.digest)
    for place, (name, planned) in enumerate(plan):
        planned.folder.write(planned.record.replace(state="finished"))
        write_json(planned.folder.table, made_table(0.5, place).to_mapping())
        shares = {"psi_share": 0.1} if "scs" in name else {}
        planned.folder.append(10, shares | ({"mcm_share": 0.0} if "mcm" in name else {}))
    measured = gather((name, planned.folder, planned.now) for name, planned in plan)
    ablate.write_study(folder, ablation, measured, [(name, planned.record.key) for name, planned in plan])
    line = "MCM had no proposal to act on in 4 of 4 runs (mcm_share=0 at every reading); try other theta_rep"
    assert line in capsys.readouterr().out
    for suffix in ("md", "html"):
        text = (folder.path / f"components.{suffix}").read_text()
        assert line in text
        assert "SCS suppressed no snippet" not in text
