"""Several searches as one command: one Ray, one MLflow experiment, one report; one that fails ends no other."""

import json
import re

import pytest
from laid_over import laid_over

from dce_ray.commandline import parse
from dce_ray.errors import ConfigError, SearchError
from dce_ray.experiment.campaign import CampaignFolder
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.presets import run_config
from dce_ray.search import estimate as module
from dce_ray.search.__main__ import main, request_of
from dce_ray.search.campaign import SEVERAL, conduct_campaign, create_campaign, spread_out
from dce_ray.search.cost import Runs
from dce_ray.search.estimate import Estimate, Planned, RunTime, total_text
from dce_ray.session.resources import Resources

pytestmark = pytest.mark.ray
SHORT = ["training.iterations=4", "training.eval_every=2", "training.log_every=2", "sampling.segments=24"]
SHORT += ["evaluation.proposal_thresholds=5", "search.folds=2", "search.num_runs=5", "confirm.precision=null"]
SHORT += ["confirm.top=1", "confirm.seeds=1"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    from dce_ray.data.synthetic import generate_synthetic

    return generate_synthetic(tmp_path_factory.mktemp("data") / "tiny", size="tiny", seed=0)


@pytest.fixture(scope="module")
def broken(cluster, tiny, tmp_path_factory):
    """A campaign whose first search cannot write, as it ends; its folder, and what the user was told."""
    results = tmp_path_factory.mktemp("campaign") / "results"
    command = ["baseline=co2net,delu", f"data={tiny}", f"results={results}", "name=both", *SHORT]
    before = module.estimate

    def block(planned):  # the folders are there now, and no search has begun
        (results / "synthetic" / "co2net" / "both" / "trials").write_text("in the way")
        return before(planned)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "estimate", block)
        with pytest.raises(SearchError) as fault:
            main(command)
    return CampaignFolder.open(results / "campaigns" / "both"), str(fault.value)


@pytest.fixture(scope="module")
def resumed(broken):
    """The same, mended and gone on with."""
    campaign, _ = broken
    (campaign.path.parent.parent / "synthetic" / "co2net" / "both" / "trials").unlink()
    before = (campaign.path.parent.parent / "synthetic" / "delu" / "both" / "study.journal").read_bytes()
    assert main([f"resume={campaign.path}"]) == 0
    return campaign, before


def test_a_search_that_fails_ends_no_other_and_is_told(broken):
    campaign, told = broken
    states = {one.baseline: (one.state, one.reason) for one in campaign.members}
    assert states["delu"] == ("ended", "")
    assert states["co2net"][0] == "failed"
    assert "trials" in states["co2net"][1]
    assert "1 of 2 searches failed: synthetic/co2net" in told
    assert f"resume={campaign.path}" in told


def test_a_resume_runs_what_has_not_ended_and_nothing_else(resumed):
    campaign, before = resumed
    assert [one.state for one in campaign.members] == ["ended", "ended"]
    folders = [ExperimentFolder.open(campaign.search(one)) for one in campaign.members]
    assert [len(folder.trials()) for folder in folders] == [5, 5]
    assert folders[1].study.read_bytes() == before


def test_the_searches_share_one_mlflow_experiment_and_their_runs_are_told_apart(resumed):
    import mlflow

    campaign, _ = resumed
    client = mlflow.MlflowClient(f"sqlite:///{campaign.path.parent.parent / 'mlflow.db'}")
    names = [one.name for one in client.search_experiments() if one.name != "Default"]
    assert names == ["campaigns/both"]
    number = client.get_experiment_by_name("campaigns/both").experiment_id
    found = [run.info.run_name for run in client.search_runs([number], "tags.kind = 'search'")]
    assert sorted(found) == ["synthetic/co2net", "synthetic/delu"]
    trials = client.search_runs([number], "tags.kind = 'trial'")
    assert all(run.data.metrics["system/memory_mib"] > 50 for run in trials)


def test_the_report_compares_them_and_says_what_each_came_to(resumed, capsys):
    from dce_ray.report.__main__ import main as report

    campaign, _ = resumed
    page = (campaign.path / "report.html").read_text()
    for name in ("synthetic/co2net", "synthetic/delu"):
        linked = re.findall(rf'<a href="([^"]*)">{name}</a>: verdict: ', page)
        assert len(linked) == 1
        assert (campaign.path / linked[0]).is_file(), "each search's own page, from where this one lies"
    assert main([f"resume={campaign.path}"]) == 0
    told = capsys.readouterr().out
    assert re.search(r"^synthetic/co2net: verdict: .*\nsynthetic/delu: verdict: ", told, re.M)
    report([str(campaign.path), "format=csv"])
    rows = capsys.readouterr().out.splitlines()
    assert {"CO2-Net", "DELU"} <= {cell for row in rows for cell in row.split(",")}


def test_the_cost_is_measured_and_told_before_the_first_search_begins(cluster, tiny, tmp_path, capsys):
    command = ["baseline=delu", f"data=[{tiny}]", f"results={tmp_path}", "name=cost", "tracking=off", *SHORT]
    assert main(laid_over(command, "confirm.seeds=0")) == 0
    told = capsys.readouterr().out
    first = re.search(r"^cost: synthetic/delu: 5 runs of the search; about (\S+) s each, .* in all$", told, re.M)
    assert first, told
    assert re.search(r"^cost: about \S+ core hours \(.*\), \S+ s on these slots$", told, re.M)
    assert told.index("cost: about") < told.index("experiment folder:")


@pytest.mark.parametrize("gone", [False, True])
def test_a_broken_pipe_ends_a_campaign_where_it_is_its_reader_that_went(gone, tiny, tmp_path, monkeypatch):
    command = ["baseline=co2net,delu", f"data={tiny}", f"results={tmp_path}", "name=pipe", "tracking=off", *SHORT]
    campaign, experiments = create_campaign([request_of(one) for one in spread_out(parse(command, several=SEVERAL))])

    def broken(experiment, folder):
        raise BrokenPipeError("a socket, or our output")

    for name, stand_in in {"conduct": broken, "nobody_reads": lambda: gone, "_enter": lambda *_: None}.items():
        monkeypatch.setattr(f"dce_ray.search.campaign.{name}", stand_in)
    monkeypatch.setattr("dce_ray.search.campaign._tell_cost", lambda *_: None)
    with pytest.raises(BrokenPipeError if gone else SearchError):
        conduct_campaign(campaign, experiments)
    assert [one.state for one in campaign.members] == (["waiting"] * 2 if gone else ["failed"] * 2)


def test_what_a_resume_changes_holds_for_every_search_before_the_first_begins(tiny, tmp_path, monkeypatch):
    command = ["baseline=co2net,delu", f"data={tiny}", f"results={tmp_path}", "name=changed", "tracking=off", *SHORT]
    campaign, _ = create_campaign([request_of(one) for one in spread_out(parse(command, several=SEVERAL))])

    def killed(*given):
        raise KeyboardInterrupt

    monkeypatch.setattr("dce_ray.search.campaign._conduct_all", killed)
    with ExperimentFolder(campaign.path).lock(), pytest.raises(SearchError, match="in use"):
        main([f"resume={campaign.path}", "search.num_runs=6"])
    asked = lambda: [ExperimentFolder.open(campaign.search(one)).config["search"] for one in campaign.members]  # noqa: E731
    assert [each["num_runs"] for each in asked()] == [5, 5]
    with pytest.raises(KeyboardInterrupt):
        main([f"resume={campaign.path}", "search.num_runs=6"])
    assert [each["num_runs"] for each in asked()] == [6, 6]


def planned(name="delu"):
    config = run_config("delu", "nowhere", data_set="synthetic")
    return Planned(name, Runs(10, 6, 4), config, Resources(2.0, 0.5), slots=4)


def test_hours_by_hand():
    one = Estimate(planned(), 90.0)
    # 10 runs on 4 slots are 3 rounds, 6 are 2; 16 runs of 90 s on 2 cores and half a GPU, and 4 more.
    assert one.wall_s == 5 * 90
    assert (one.hours(), one.hours(gpu=True), one.hours(further=True, gpu=True)) == (0.8, 0.2, 0.25)
    other = Estimate(planned("co2net"), None, "out of memory")
    assert total_text([one, other]) == (
        "cost: about 0.8 core hours (1 with every further seed) and 0.2 GPU hours (0.25 with every further seed), "
        "7.5 min on these slots; without co2net"
    )
    assert "how long they take is not known: out of memory" in other.text()


def test_a_run_is_as_long_as_its_parts():
    changes = {"training": {"iterations": 10, "eval_every": 4}}
    config = run_config("delu", "nowhere", data_set="synthetic", overrides=changes)
    assert RunTime(1.0, 0.5, 2.0).of(config) == 1 + 10 * 0.5 + 3 * 2


def test_the_product_of_both_lists_data_by_data():
    each = spread_out({"baseline": ["delu", "co2net"], "data": ["a", "b"], "seed": 1})
    assert [(one["data"], one["baseline"], one["seed"]) for one in each] == [
        *[("a", "delu", 1), ("a", "co2net", 1)],
        *[("b", "delu", 1), ("b", "co2net", 1)],
    ]
    assert spread_out({"baseline": "delu"}) == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["baseline=delu,co2net,delu"], ["names delu more than once"]),
        (["baseline=[]"], ["baseline=[]: names nothing"]),
        (["baseline=delu,dleu"], ["unknown baseline 'dleu'", "did you mean delu"]),
        (["baseline=delu,co2net", "training.iteratoins=3"], ["training.iterations"]),
        (["baseline=delu,co2net", "search.num_runs=3"], ["search.num_runs=3", "baseline=delu"]),
        (["baseline=delu,co2net", "name=../x"], ["must be a name"]),
    ],
)
def test_a_wrong_value_starts_nothing_and_leaves_nothing(arguments, told, tiny, tmp_path):
    with pytest.raises(ConfigError) as fault:
        main([f"data={tiny}", f"results={tmp_path / 'results'}", *arguments])
    assert all(text in str(fault.value) for text in told), str(fault.value)
    assert str(fault.value).count("\n") <= 4
    assert not (tmp_path / "results").exists()


def test_the_same_data_under_two_names_and_names_that_are_taken(tiny, tmp_path):
    results = tmp_path / "results"
    (tmp_path / "again").symlink_to(tiny)
    with pytest.raises(ConfigError, match="both are synthetic and would lie in one folder"):
        main(["baseline=delu", f"data={tiny},{tmp_path / 'again'}", f"results={results}", *SHORT])
    (results / "synthetic" / "co2net" / "one").mkdir(parents=True)
    with pytest.raises(SearchError, match="co2net/one: exists; give another name="):
        main(["baseline=delu,co2net", f"data={tiny}", f"results={results}", "name=one", *SHORT])
    assert not (results / "synthetic" / "delu").exists()


def test_a_campaign_whose_search_was_taken_away(tmp_path):
    folder = CampaignFolder.create(tmp_path / "campaigns" / "one", [("a", "delu", tmp_path / "a" / "delu" / "one")])
    with pytest.raises(SearchError, match="no experiment is there"):
        main([f"resume={folder.path}"])
    file = folder.path / "campaign.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format": 9}))
    with pytest.raises(SearchError, match="in format 9, this version reads format 1"):
        main([f"resume={folder.path}"])
