"""What ``storage=`` asks for before a search starts, and what a node says of data, storage and folder; without Ray."""

from __future__ import annotations

import re
import shutil
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
from s3_server import SECRET

from dce_ray import ablate, ablation_runs, confirm
from dce_ray.confirm import bring_look
from dce_ray.errors import ConfigError, DceError, SearchError, StorageError
from dce_ray.experiment.claim import place_of
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.experiment.mirrored import at_storage
from dce_ray.experiment.record import RunRecord
from dce_ray.places import Place
from dce_ray.search import stages
from dce_ray.search.__main__ import known_keys, request_of
from dce_ray.search.opening import create, reopen
from dce_ray.search.plan import Planned
from dce_ray.search.stages import Search
from dce_ray.session.nodes import Wanted, look, unseen
from dce_ray.store import open_store
from dce_ray.verdict.text import ANEW


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DCE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def made(store: Path, **values: str):
    return create(request_of({"data": str(store), "name": "one", "device": "cpu", **values}))


def test_the_data_go_where_all_nodes_reach_them_and_are_not_fetched_here(tiny_store, bucket, s3):
    experiment, folder = made(tiny_store, storage=f"{bucket}/kept")
    digest = open_store(tiny_store).digest
    assert experiment.run.data == f"{bucket}/kept/stores/synthetic-{digest[:12]}"
    assert folder.config["run"]["data"] == experiment.run.data
    assert folder.config["storage"] == f"{bucket}/kept"
    assert open_store(experiment.run.data).path.resolve() == tiny_store.resolve()
    assert s3.tell("count", path=f"{experiment.run.data.removeprefix('s3:/')}/features.arrow") == 0


def test_another_machine_goes_on_with_data_and_settings_of_its_own_place(tiny_store, bucket, tmp_path, monkeypatch):
    experiment, folder = made(tiny_store, storage=f"{bucket}/kept")
    with folder.lock(), at_storage(folder, f"{bucket}/kept", experiment.digest):
        pass
    address = place_of(folder, f"{bucket}/kept").address
    monkeypatch.setenv("DCE_CACHE", str(tmp_path / "other cache"))
    again, there = reopen(address, {"results": str(tmp_path / "mine"), "search.num_runs": 64})
    assert there.path == tmp_path / "mine" / "synthetic" / "delu" / "one"
    assert (again.settings.storage, again.settings.results) == (f"{bucket}/kept", str(tmp_path / "mine"))
    assert again.settings.search.num_runs == 64
    assert again.digest == experiment.digest
    again = rf".*dce_ray\.search resume={address} results=\S*wrong\Z"
    removed = rf"/wrong/synthetic/delu/one is removed again; to have it here: {again}"
    with pytest.raises(ConfigError, match=rf"seed cannot be changed(.|\n)*{removed}"):
        reopen(address, {"results": str(tmp_path / "wrong"), "search.seed": 1})
    assert not list((tmp_path / "wrong").glob("*"))
    with pytest.raises(SearchError, match="one exists; give another name=, or go on with it: resume=s3://"):
        made(tiny_store, storage=f"{bucket}/kept", results="elsewhere")


@pytest.mark.parametrize(
    ("storage", "words"),
    [
        ("file/below", r"storage=.*/file/below: a file is in the way: remove it"),
        ("s3://no-such-bucket/way", r"storage=s3://no-such-bucket/way: the bucket does not exist: make it"),
        ("ftp://host/way", r"storage=ftp://host/way: must be a folder, s3://bucket/prefix or gs://bucket/prefix"),
        ("", "storage=: names nothing; give a folder"),
        ("results", "storage=results: is results=results, and a copy there would write over what it copies"),
        ("s3://name:hidden@bucket", r"storage=s3://bucket: holds credentials"),
    ],
)
def test_a_storage_that_cannot_serve_is_refused_before_anything_is_made(storage, words, tiny_store, bucket, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises((StorageError, ConfigError), match=words) as fault:
        made(tiny_store, storage=storage)
    assert "hidden" not in str(fault.value)
    assert not (tmp_path / "results").exists()


def test_a_key_that_is_refused_is_told_without_it_before_anything_is_made(tiny_store, bucket, s3, tmp_path):
    s3.tell("key", only="another")
    try:
        with pytest.raises(StorageError, match=rf"storage={bucket}: the key is not accepted") as fault:
            made(tiny_store, storage=bucket)
    finally:
        s3.tell("key")
    assert SECRET not in str(fault.value)
    assert not (tmp_path / "results").exists()


def test_the_storage_of_a_search_stays(tiny_store, tmp_path):
    _, folder = made(tiny_store, storage=str(tmp_path / "shared"))
    with pytest.raises(ConfigError, match="storage cannot be changed"):
        reopen(folder.path, {"storage": "elsewhere"})


def test_a_node_says_what_it_sees(tiny_store, tmp_path, bucket):
    (tmp_path / ".session").write_text("mark")
    Path("shared").mkdir()
    Path("shared/seen").write_text("mark")
    wanted = Wanted(str(tmp_path / ".session"), "mark", str(tiny_store), open_store(tiny_store).digest)
    there = replace(wanted, storage=str(tmp_path / "shared"), seen="seen")
    view = look(there)
    assert (view.folder, view.fault) == (True, None)
    assert "is another place there: give a folder that all nodes share" in look(replace(there, seen="other")).fault
    assert "no-such-bucket: the bucket does not exist" in look(replace(there, storage="s3://no-such-bucket")).fault
    view = look(replace(wanted, mark="another", data=str(tmp_path / "nowhere")))
    assert not view.folder
    assert "nowhere: does not exist" in view.fault
    assert "every node must reach the data: data=s3://..." in view.fault
    view = look(replace(wanted, digest="f" * 64))
    assert f"holds other data there (digest {wanted.digest[:12]}, expected ffffffffffff)" in view.fault
    assert "not a store" in look(replace(wanted, data=f"{bucket}/none")).fault


@pytest.mark.parametrize(
    ("keys", "known"),
    [(("data", "storage"), known_keys()), (("data",), ablate.OWN_KEYS | {"data": None}), ((), confirm.DEFAULTS)],
    ids=["search", "ablate", "confirm"],
)
def test_remedies_name_only_keys_that_the_command_takes(keys, known, tiny_store, tmp_path):
    mark = tmp_path / ".session"
    mark.write_text("mark")
    wanted = Wanted(str(mark), "mark", str(tmp_path / "nowhere"), "f" * 64, keys=keys)
    absent, other = look(wanted).fault, look(replace(wanted, data=str(tiny_store))).fault
    note = unseen(tmp_path, ["node-b", "node-a"], keys)
    assert "every node must reach the data: " in absent
    assert "give all nodes the same store" in other
    assert "is not seen on 2 nodes (node-a, node-b): a run that loses its process there starts again; " in note
    named = set(re.findall(r"(\w+)=(?!<here>|s3://\.\.\.\))", f"{absent} {other} {note}"))
    assert named == set(keys)
    assert named <= set(known)


def test_ablations_and_a_resumed_search_ask_with_the_keys_they_take(tiny_store, tmp_path, monkeypatch):
    asked = []

    def ask(*_, keys=("data", "storage")):
        asked.append(keys)
        raise SearchError("enough")

    monkeypatch.setattr(ablation_runs, "check_nodes", ask)
    monkeypatch.setattr(stages, "check_nodes", ask)
    monkeypatch.setattr(stages, "ray_session", lambda *_, **__: nullcontext([]))
    experiment, folder = made(tiny_store)
    record = RunRecord("one", "ablation", "plain", 0, "running", experiment.run.to_mapping(), 0)
    plan = [Planned(folder.confirm("one"), record)]
    with pytest.raises(SearchError, match="enough"):
        ablation_runs.Runner({}, []).run("title", plan, experiment.run, open_store(tiny_store))
    for begun in (False, True):
        if begun:
            folder.trial("one").write(replace(record, role="trial"))
        with pytest.raises(SearchError, match="enough"):
            Search(experiment, folder).run()
    assert asked == [("data",), ("data", "storage"), ()]


def test_a_confirmation_anew_goes_on_on_another_machine(tiny_store, bucket, tmp_path):
    storage = f"{bucket}/kept"
    experiment, search = made(tiny_store, storage=storage)
    with search.lock(), at_storage(search, storage, experiment.digest):
        pass
    look = ExperimentFolder.create(search.look(2), {"kind": "anew", "asked": "there"}, {})
    with look.lock(), at_storage(look, storage, experiment.digest):
        pass
    _, here = reopen(place_of(search, storage).address, {"results": str(tmp_path / "mine")})
    bring_look(here, 3)
    assert not here.look(3).exists()
    bring_look(here, 2)
    again = ExperimentFolder.open(here.look(2))
    assert again.config["asked"] == "there"
    bring_look(here, 2)  # it is here already
    with again.lock(), at_storage(again, storage, experiment.digest) as working:
        assert working.common.session == 1


def test_a_confirmation_anew_is_not_resumed_as_a_search(bucket, tmp_path):
    """Neither its folder nor what lies at a storage, of which nothing is brought."""
    asked = {"kind": ANEW, "look": 2, "search_folder": "/gone/one", "confirm": {"seeds": 8}}
    path = tmp_path / "results" / "hapt" / "delu" / "one-confirm-2"
    look = ExperimentFolder.create(path, asked, {})
    with look.lock(), at_storage(look, f"{bucket}/kept", "d"):
        pass
    told = "holds a confirmation anew and no search; it goes on with"
    command = "-m dce_ray.confirm search=results/hapt/delu/one seeds=8 look=2"
    with pytest.raises(SearchError, match=rf"^resume={path}: {told} \S*python {command}$"):
        reopen(path, {})
    place = place_of(look, f"{bucket}/kept")
    command = command.replace("results", "other")
    here = rf"\(resume={bucket}/kept/hapt/delu/one\)"
    with pytest.raises(SearchError, match=rf"^resume={place}: {told} \S*python {command}, once .* here {here}$"):
        reopen(place.address, {"results": "other"})
    assert not (tmp_path / "other").exists()
    ablation = ExperimentFolder.create(tmp_path / "results" / "hapt" / "delu" / "study", {"kind": "ablation"}, {})
    with pytest.raises(SearchError, match="holds an ablation and no search; it goes on with the command that made it"):
        reopen(ablation.path, {})


def test_a_shared_folder_serves_as_storage(tiny_store, tmp_path):
    experiment, _ = made(tiny_store, storage=str(tmp_path / "shared"))
    digest = open_store(tiny_store).digest
    assert experiment.run.data == str(tmp_path / "shared" / "stores" / f"synthetic-{digest[:12]}")
    shutil.rmtree(tmp_path / "shared")
    with pytest.raises(DceError):
        open_store(experiment.run.data)
    assert Place.at(tmp_path / "shared").files() == {}
