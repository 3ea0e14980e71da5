"""The verdict as the description of a search in MLflow, and what people write there themselves."""

from __future__ import annotations

from mirrored import client_of, finished_without_model, runs_of

from dce_ray.files import read_json, write_json
from dce_ray.tracking import sync
from dce_ray.tracking.content import NOTE_TAG
from dce_ray.words import runnable


def told(folder):
    return runs_of(client_of(folder), "first")["first"].data.tags[NOTE_TAG]


def judged(folder, sentence, **more):
    write_json(folder.confirmation, read_json(folder.confirmation) | {"verdict": {"sentence": sentence, **more}})


def test_the_description_follows_the_verdict(make_experiment):
    folder = make_experiment()
    sync(folder)
    assert told(folder) == "verdict: none yet"
    finished_without_model(folder)
    judged(folder, "verdict: undecided: top1 gains +0.40 mAP.")
    sync(folder)
    assert told(folder) == "verdict: undecided: top1 gains +0.40 mAP."
    folder.confirmation.unlink()  # another winner: the confirmation is made anew
    sync(folder)
    assert told(folder) == "verdict: none yet"


def test_only_the_search_is_described(make_experiment):
    folder = finished_without_model(make_experiment())
    judged(folder, "verdict: better: x.")
    sync(folder)
    runs = runs_of(client_of(folder), "first")
    assert [name for name, run in runs.items() if NOTE_TAG in run.data.tags] == ["first"]


def test_somebody_s_own_words_stay(make_experiment):
    folder = make_experiment()
    sync(folder)
    client = client_of(folder)
    client.set_tag(runs_of(client, "first")["first"].info.run_id, NOTE_TAG, "for the thesis, chapter 4")
    finished_without_model(folder)
    judged(folder, "verdict: better: x.")
    sync(folder)
    assert told(folder) == "for the thesis, chapter 4"


def test_details_and_command_follow_the_sentence(make_experiment):
    folder = finished_without_model(make_experiment())
    judged(folder, "verdict: undecided: x.", outcome="undecided", details=["One.", "Two:"], command="python -m y")
    sync(folder)
    command = runnable("python -m y", anywhere=True)
    assert told(folder) == f"verdict: undecided: x.\n\n- One.\n- Two:\n\n```\n{command}\n```"


def test_a_confirmation_that_was_cut_off_leaves_its_search_interrupted(make_experiment):
    folder = finished_without_model(make_experiment())
    judged(folder, "verdict: unconfirmed: x.", outcome="unconfirmed")
    sync(folder)
    assert runs_of(client_of(folder), "first")["first"].data.tags["status"] == "interrupted"
