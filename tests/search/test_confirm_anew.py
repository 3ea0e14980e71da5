"""A best setting confirmed anew: fresh seeds, a number that is fixed once, and a command that goes on after a kill."""

from __future__ import annotations

import html
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time

import pytest
from laid_over import laid_over
from test_search_command import SHORT, SINGLE, opened

from dce_ray import confirm
from dce_ray.errors import ConfigError, SearchError
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.files import write_json
from dce_ray.report import __main__ as report_command
from dce_ray.report.confirmation import looks_at
from dce_ray.report.page import write_outputs
from dce_ray.search.__main__ import main as search
from dce_ray.verdict.verdict import Verdict

pytestmark = pytest.mark.ray
MORE = [*SHORT, *SINGLE, "search.num_runs=3", "confirm.top=1", "confirm.seeds=2", "scheduler=none"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    from dce_ray.data.synthetic import generate_synthetic

    return generate_synthetic(tmp_path_factory.mktemp("data") / "tiny", size="tiny", seed=0)


@pytest.fixture(scope="module")
def searched(cluster, tiny, tmp_path_factory):
    """A search whose verdict is undecided, in a folder whose name needs quoting."""
    results = tmp_path_factory.mktemp("results") / "my results"
    path = f"results='{results}'"
    assert search([f"data={tiny}", "baseline=delu", path, "name=one", *laid_over(MORE, "training.iterations=12")]) == 0
    folder = opened(results)
    content = json.loads(folder.confirmation.read_text())
    assert content["verdict"]["outcome"] == "undecided"
    return folder


@pytest.mark.timeout(600)  # several sessions, each with a Ray of its own
def test_the_undecided_verdict_ends_with_a_command_that_works_when_pasted(searched, capsys, monkeypatch):
    verdict = Verdict.read(searched)
    python, dash, module, *arguments = shlex.split(verdict.command)
    assert (python, dash, module) == ("python", "-m", "dce_ray.confirm")
    assert arguments[0].startswith("search=")
    arguments[1] = "seeds=3"  # the literal number would take this test minutes
    assert confirm.main(arguments) == 0
    seen = capsys.readouterr().out
    (look,) = looks_at(searched)
    assert look.path == searched.path.with_name("one-confirm-2")
    anew = Verdict.read(look)
    assert seen.rstrip().endswith(anew.text)
    assert (anew.pairs, anew.looks, anew.search_runs, anew.confirmation_runs) == (3, 2, 0, 6)
    assert anew.low < anew.gain < anew.high
    used = {run.record().seed for folder in (searched.trials(), searched.confirmations()) for run in folder}
    fresh = {run.record().seed for run in look.confirmations()}
    assert fresh == {11000, 11001, 11002}
    assert not fresh & used
    for run in look.confirmations():  # the same settings up to the same iterations: the seed alone is another
        first = searched.confirm(f"{run.record().setting}-1000").record()
        assert run.record().config == first.config | {"seed": run.record().seed}
    assert any(line.startswith("Look 2 at test, with seeds of its own") for line in anew.details)
    if anew.outcome == "undecided":
        assert anew.command.endswith(" look=3")
    # Given again it runs nothing, and says the same.
    before = look.confirm("top1-11000").table.stat().st_mtime_ns
    monkeypatch.setenv("DCE_RAY_COMMIT", "bbbbbbb")
    assert confirm.main(arguments) == 0
    again = capsys.readouterr().out
    assert "6 runs on test, 6 of them finished before" in again
    assert again.rstrip().endswith(anew.text)
    assert look.confirm("top1-11000").table.stat().st_mtime_ns == before
    # Pages and the report command show it.
    page = (searched.path / "report.html").read_text()
    assert page.index(Verdict.read(searched).sentence) < page.index("Confirmed anew (one-confirm-2)")
    assert anew.sentence in page
    assert anew.sentence in (look.path / "report.html").read_text()
    assert [session["commit"] for session in look.sessions] == [look.environment["commit"], "bbbbbbb"]
    assert "bbbbbbb" in (look.path / "report.html").read_text()
    assert report_command.main([str(look.path)]) == 0
    assert capsys.readouterr().out.rstrip() == anew.text
    report_command.main([str(searched.path)])
    both = f"{Verdict.read(searched).text}\n\n{anew.text}"
    assert capsys.readouterr().out.rstrip().endswith(both)
    with pytest.raises(ConfigError, match=r"seeds=4: .* was begun with seeds=3, .* look=3 makes another one"):
        confirm.main([arguments[0], "seeds=4"])
    refused = r"look=4: look 3 has not ended; first: .* -m dce_ray\.confirm .* seeds={} look=3$"
    with pytest.raises(ConfigError, match=refused.format(5)):
        confirm.main([arguments[0], "seeds=5", "look=4"])
    begun = searched.look(3)
    write_json(begun / "config.json", look.config | {"confirm": {"seeds": 3}})  # goes on with the seeds that it has
    with pytest.raises(ConfigError, match=refused.format(3)):
        confirm.main([arguments[0], "seeds=5", "look=4"])
    shutil.rmtree(begun)


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        (["seeds=5"], ConfigError, "search= is missing"),
        (["search={one}", "seeds=1"], ConfigError, "seeds=1: must be a whole number between 2 and 10000"),
        (["search={one}", "seeds=many"], ConfigError, "seeds='many': must be a whole number"),
        (["search={one}", "look=1"], ConfigError, "the search's own confirmation was the first"),
        (["search={one}", "sedes=5"], ConfigError, "did you mean seeds"),
        (["search=/nowhere"], SearchError, "/nowhere does not exist"),
    ],
)
def test_what_makes_no_sense_is_refused(searched, wrong, error, words, monkeypatch):
    monkeypatch.setattr("dce_ray.session.ray_session._start", lambda *_: pytest.fail("Ray was started"))
    before = sorted(searched.path.parent.iterdir())
    with pytest.raises(error, match=re.escape(words)):
        confirm.main([text.format(one=f"'{searched.path}'") for text in wrong])
    assert sorted(searched.path.parent.iterdir()) == before


def copied(searched, tmp_path, change):
    """The search in another folder, where its confirmation says something else."""
    path = tmp_path / "hapt" / "delu" / "other"
    shutil.copytree(searched.path, path)
    folder = ExperimentFolder.open(path)
    content = json.loads(folder.confirmation.read_text())
    change(content)
    write_json(folder.confirmation, content)
    return folder


@pytest.mark.parametrize(
    ("seed", "words"),
    [  # look 2 begins 10000 + 1000 behind the search's own seed
        (
            2147483647 - 11003,
            "trains with the seeds 2147483644 to 2147483648, and no seed may exceed 2147483647; give seeds=4 or fewer",
        ),
        (2147483647, "give a lower look=, or start a new search with seed=0"),
    ],
)
def test_seeds_that_no_run_can_have_are_refused_before_the_first(searched, tmp_path, seed, words):
    def change(content):
        for one in content["configurations"]:
            one["config"]["seed"] = seed

    folder = copied(searched, tmp_path, change)
    with pytest.raises(ConfigError, match=re.escape(words)):
        confirm.main([f"search={folder.path}", "seeds=5"])
    assert not folder.look(2).exists()


def test_a_search_that_was_not_confirmed_is_sent_back(searched, tmp_path):
    folder = copied(searched, tmp_path, lambda content: content["verdict"].update(outcome="unconfirmed"))
    going_on = rf"has not ended; first: \S*python\S* -m dce_ray\.search resume={folder.path}"
    with pytest.raises(SearchError, match=rf"{going_on} search\.time_budget=null\Z"):
        confirm.main([f"search={folder.path}"])
    folder.confirmation.unlink()  # interrupted before there was one
    with pytest.raises(SearchError, match=rf"{going_on}\Z"):
        confirm.main([f"search={folder.path}"])
    config = folder.config
    write_json(folder.path / "config.json", config | {"confirm": config["confirm"] | {"seeds": 0}})
    begun_with = json.loads((folder.path / "seeds_asked.json").read_text())["seeds"]
    assert begun_with == 2, "not the five of one that nobody began"
    with pytest.raises(SearchError, match=rf"{going_on} confirm\.seeds=2\Z"):
        confirm.main([f"search={folder.path}"])
    for run in folder.confirmations():
        run.table.unlink()  # nothing of it was seen
    (folder.path / "seed_plan.json").unlink()
    with pytest.raises(SearchError, match=rf"{going_on} confirm\.seeds=5\Z"):
        confirm.main([f"search={folder.path}"])


def test_a_search_without_a_plain_baseline_is_told_so(searched, tmp_path):
    folder = copied(searched, tmp_path, lambda content: content["configurations"].pop())
    with pytest.raises(SearchError, match="its confirmation lacks the plain baseline"):
        confirm.main([f"search={folder.path}"])


def test_another_winner_is_another_look(searched, tmp_path):
    folder = copied(searched, tmp_path, lambda content: None)
    look = confirm.prepare(confirm.DEFAULTS | {"search": str(folder.path), "seeds": 2})
    content = json.loads(folder.confirmation.read_text())
    content["configurations"][0]["iteration"] += 2
    write_json(folder.confirmation, content)
    with pytest.raises(SearchError, match=r"confirmed another best setting, .* look=3 makes another one"):
        confirm.prepare(confirm.DEFAULTS | {"search": str(folder.path), "seeds": 2})
    assert not look.folder.confirmations()
    # What that says works, although look 2 never ended: nobody can end it any more.
    following = confirm.prepare(confirm.DEFAULTS | {"search": str(folder.path), "seeds": 2, "look": 3})
    assert following.folder.path == folder.look(3)


def test_the_page_tells_looks_at_an_earlier_choice_apart(searched, tmp_path):
    folder = copied(searched, tmp_path, lambda content: None)
    look = confirm.prepare(confirm.DEFAULTS | {"search": str(folder.path), "seeds": 2})
    write_json(look.folder.confirmation, json.loads(searched.confirmation.read_text()))  # a verdict as any other
    own, text = Verdict.read(folder), "of an earlier choice, which the search has left since"
    write_outputs(folder)
    page = (folder.path / "report.html").read_text()
    assert "Confirmed anew (other-confirm-2):" in page
    assert text not in page
    content = json.loads(folder.confirmation.read_text())
    content["configurations"][0]["iteration"] += 2
    write_json(folder.confirmation, content)
    write_outputs(folder)
    page = (folder.path / "report.html").read_text()
    assert f"Confirmed anew (other-confirm-2), {text}:" in page
    assert html.escape(own.command) in page[: page.index("Confirmed anew")]  # the present choice is open again


def test_memory_is_reserved_for_the_larger_of_the_two(searched, tmp_path, monkeypatch):
    def widen(content):
        content["configurations"][-1]["config"]["sampling"]["segments"] = 900  # the plain baseline's own best values

    folder = copied(searched, tmp_path, widen)
    look = confirm.prepare(confirm.DEFAULTS | {"search": str(folder.path), "seeds": 2})
    asked = []

    def ask(config, *_, **__):
        asked.append(config.sampling.segments)
        raise SearchError("enough")

    monkeypatch.setattr(confirm, "resources_for", ask)
    monkeypatch.setattr(confirm, "check_nodes", lambda *_, keys: asked.append(keys))
    with pytest.raises(SearchError, match="enough"):
        confirm.run(look, confirm.DEFAULTS)
    assert asked == [(), 900], "no remedy names data= or storage=, which this command does not take"


def tables_of_finished(place):
    """Tables of the runs that ended; a kill between table and record has the run evaluated again."""
    runs = ExperimentFolder(place).confirmations() if place.is_dir() else []
    return [run.table for run in runs if run.record().state == "finished"]


def test_a_killed_one_goes_on_and_runs_nothing_twice(searched, tmp_path):
    folder = copied(searched, tmp_path, lambda content: None)
    command = [sys.executable, "-m", "dce_ray.confirm", f"search={folder.path}", "seeds=3", "ray.num_cpus=1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_ADDRESS": ""}
    place = folder.path.with_name("other-confirm-2")
    with (tmp_path / "out.txt").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
        deadline = time.monotonic() + 200
        while len(tables_of_finished(place)) < 2 and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    kept = {path: path.stat().st_mtime_ns for path in tables_of_finished(place)}
    assert 2 <= len(kept) < 6, (tmp_path / "out.txt").read_text()
    assert confirm.main([f"search={folder.path}", "seeds=3"]) == 0
    assert len(tables_of_finished(place)) == 6
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert Verdict.read(ExperimentFolder.open(place)).pairs == 3
