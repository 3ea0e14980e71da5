"""One run: deterministic, resumable bit for bit, honest about its splits."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dce_ray.baselines import dropout
from dce_ray.baselines.dropout import draw_mask
from dce_ray.config import RunConfig
from dce_ray.errors import CheckpointError, ConfigError, DataError, NonFiniteError
from dce_ray.evaluate import evaluate_checkpoint
from dce_ray.presets import run_config
from dce_ray.store import FeatureStore, open_store
from dce_ray.train import Run, checkpoint
from dce_ray.train.build import load_trained

BASELINES = ("co2net", "delu", "ddgnet")


def tiny_config(store: Path, baseline: str = "delu", **overrides) -> RunConfig:
    quick = {
        "training": {"iterations": 12, "eval_every": 4, "log_every": 3, "learning_rate": 1e-3},
        "sampling": {"segments": 24, "batch": 6, "pairs": 2},
        "device": "cpu",
    }
    return run_config(baseline, store, data_set="synthetic", overrides=quick | overrides)


def weights(run: Run) -> torch.Tensor:
    return torch.cat([value.flatten() for value in run.network.state_dict().values()])


@pytest.fixture
def masks(monkeypatch) -> list[torch.Tensor]:
    """All masks of dropout, in the order in which they are drawn."""
    drawn: list[torch.Tensor] = []

    def noted(shape, p):
        drawn.append(draw_mask(shape, p).clone())
        return drawn[-1]

    monkeypatch.setattr(dropout, "FEWEST", 0)  # the tiny data makes tiny tensors
    monkeypatch.setattr(dropout, "draw_mask", noted)
    return drawn


@pytest.mark.parametrize("baseline", BASELINES)
def test_masks_go_on_where_the_checkpoint_left_them(tiny_store, tmp_path, baseline, masks):
    run = Run(tiny_config(tiny_store, baseline))
    run.advance(1)
    run.save(tmp_path / "checkpoint.pt")
    first = len(masks)
    run.advance(1)
    expected = masks[first:]
    masks.clear()
    again = Run(tiny_config(tiny_store, baseline))
    again.restore(tmp_path / "checkpoint.pt")
    again.advance(1)
    assert len(masks) == len(expected) > 10
    assert all(torch.equal(a, b) for a, b in zip(masks, expected, strict=True))


@pytest.mark.parametrize("baseline", BASELINES)
def test_saved_and_restored_equals_never_stopped(tiny_store, tmp_path, baseline):
    whole = Run(tiny_config(tiny_store, baseline))
    whole.advance(12)
    first = Run(tiny_config(tiny_store, baseline))
    first.advance(5)
    first.save(tmp_path / "checkpoint.pt")
    second = Run(tiny_config(tiny_store, baseline))
    assert second.restore(tmp_path / "checkpoint.pt")
    second.advance(7)
    assert torch.equal(weights(whole), weights(second))
    assert whole.source.state() == second.source.state()


def test_neither_chunks_nor_evaluations_nor_other_runs_change_a_run(tiny_store):
    plain = Run(tiny_config(tiny_store))
    plain.advance(6)
    watched = Run(tiny_config(tiny_store))
    other = Run(tiny_config(tiny_store, seed=5))
    for _ in range(3):
        watched.advance(2)
        watched.evaluate("holdout")
        other.advance(1)
        torch.rand(3)
    assert torch.equal(weights(plain), weights(watched))


def test_the_process_keeps_its_own_random_numbers(tiny_store):
    torch.manual_seed(1)
    expected = torch.rand(4)
    torch.manual_seed(1)
    Run(tiny_config(tiny_store)).advance(2)
    assert torch.equal(torch.rand(4), expected)


def test_seeds_decide(tiny_store):
    runs = [Run(tiny_config(tiny_store, seed=seed)) for seed in (0, 0, 1)]
    for run in runs:
        run.advance(2)
    assert torch.equal(weights(runs[0]), weights(runs[1]))
    assert not torch.equal(weights(runs[0]), weights(runs[2]))


def test_another_process_makes_the_same_table(tiny_store):
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[2])\n"
        "from test_run import tiny_config; from dce_ray.train import Run\n"
        "run = Run(tiny_config(Path(sys.argv[1]))); run.advance(12); print(run.evaluate('test').table.to_mapping())"
    )
    command = [sys.executable, "-c", code, str(tiny_store), str(Path(__file__).parent)]
    outputs = {subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(2)}
    assert len(outputs) == 1
    assert "0.7" in outputs.pop()


def test_metrics_are_means_of_finite_numbers(tiny_store):
    metrics = Run(tiny_config(tiny_store)).advance(7)
    assert metrics["iterations_per_second"] > 0
    assert 0 <= metrics["psi_share"] <= 1
    assert {"loss/total", "loss/mil_original", "loss/mcm_feature", "loss/mcm_label", "mcm_share"} <= metrics.keys()
    assert all(math.isfinite(value) for value in metrics.values())


def test_a_run_ends_at_its_last_iteration(tiny_store):
    run = Run(tiny_config(tiny_store))
    run.advance(100)
    assert run.finished
    assert run.iteration == 12
    assert run.advance(1) == {}


def test_a_run_may_stop_before_its_schedule_ends(tiny_store):
    """The first five of twelve iterations are the same whether the run is stopped there by configuration or by hand."""
    training = tiny_config(tiny_store).training.to_mapping()
    stopped = Run(tiny_config(tiny_store, training=training | {"stop_at": 5}))
    stopped.advance(100)
    assert (stopped.iteration, stopped.finished) == (5, True)
    whole = Run(tiny_config(tiny_store))
    whole.advance(5)
    assert not whole.finished
    assert torch.equal(weights(stopped), weights(whole))


def test_components_can_be_switched_off(tiny_store):
    plain = Run(tiny_config(tiny_store, scs=False, mcm=False)).advance(2)
    assert "loss/mcm_feature" not in plain
    assert plain.get("psi_share", 0.0) == 0.0


@pytest.mark.parametrize(("where", "term"), [("terms", "guide"), ("gradient", "gradient of")])
def test_what_is_not_finite_stops_the_run_with_iteration_and_name(tiny_store, where, term):
    run = Run(tiny_config(tiny_store))
    calls, objective = 0, run.objective

    class Poisoned:
        weights = objective.weights

        def __call__(self, outputs, batch, progress):
            nonlocal calls
            calls += 1
            values = objective(outputs, batch, progress)
            if calls == 5:
                # sqrt(0) has a finite value and an infinite gradient
                bad = values["guide"] * math.nan if where == "terms" else (outputs.logits.sum() * 0).sqrt()
                values["guide"] = bad
            return values

    run.objective = Poisoned()
    with pytest.raises(NonFiniteError, match=term) as fault:
        run.advance(12)
    assert fault.value.iteration == 5


class TestLabelsAreNotRead:
    """A store that raises when the labels or instances of forbidden videos are asked for."""

    @staticmethod
    def guarded(store_path: Path, forbidden_labels: set[int], forbidden_instances: set[int]) -> FeatureStore:
        class Guarded(FeatureStore):
            def labels(self, videos):
                assert not forbidden_labels & {int(video) for video in videos}, "labels read"
                return super().labels(videos)

            def instances(self, videos):
                assert not forbidden_instances & {int(video) for video in videos}, "instances read"
                return super().instances(videos)

        return Guarded.open(store_path)

    def test_training_and_selection_on_holdout_never_read_the_test_set(self, tiny_store):
        splits = Run(tiny_config(tiny_store)).splits
        test = {int(video) for video in splits.test}
        run = Run(tiny_config(tiny_store), self.guarded(tiny_store, test, test))
        run.advance(4)
        run.select()
        with pytest.raises(AssertionError, match="read"):
            run.evaluate("test")

    def test_training_never_reads_temporal_labels(self, tiny_store):
        everything = set(range(len(open_store(tiny_store).video_names)))
        run = Run(tiny_config(tiny_store), self.guarded(tiny_store, set(), everything))
        run.advance(3)
        assert run.iteration == 3
        with pytest.raises(AssertionError, match="instances read"):
            run.select()

    @pytest.mark.parametrize("drop_ambiguous", [False, True])
    def test_by_class_no_temporal_label_of_a_train_video_is_read(self, tiny_store, tmp_path, drop_ambiguous):
        from unread import without_temporal_labels

        config = tiny_config(
            tiny_store, metric="classification", evaluation={"drop_ambiguous": drop_ambiguous, "proposal_thresholds": 5}
        )
        store = without_temporal_labels(tiny_store)
        run = Run(config, store)
        run.advance(4)
        outcome, improved = run.select()
        assert improved
        assert list(outcome.table.metrics()) == ["mAP/classification"]
        assert run.best.score == outcome.table.classification_map > 0
        assert len(outcome.proposals) > 0
        plain = Run(config.replace(metric="detection")).evaluate("holdout").table  # another network, the same videos
        assert outcome.table.videos == plain.videos
        run.save(tmp_path / "run.pt")
        again = Run(config, store)
        assert again.restore(tmp_path / "run.pt")
        assert again.best == run.best
        assert run.evaluate("test").table.ranking >= 0  # test is measured in detection mAP, whatever ranked
        with pytest.raises(RuntimeError, match=r"temporal labels of train videos \[.*\] were read"):
            Run(config.replace(metric="detection"), store).select()

    def test_by_class_the_holdout_s_instances_stay_unread_in_evaluate_too(self, tiny_store, tmp_path, monkeypatch):
        from unread import without_temporal_labels

        run = Run(tiny_config(tiny_store, metric="classification"))
        run.save(tmp_path / "run.pt")
        monkeypatch.setattr("dce_ray.evaluate.open_store", without_temporal_labels)
        table = evaluate_checkpoint(tmp_path / "run.pt", split="holdout", device="cpu").table
        assert (table.thresholds, table.instances) == ((), None)

    def test_holdout_videos_are_not_trained_on(self, tiny_store):
        run = Run(tiny_config(tiny_store))
        assert not set(run.splits.train) & set(run.splits.holdout)
        assert set(run.splits.train) | set(run.splits.holdout) == set(run.splits.train_all)
        whole = Run(tiny_config(tiny_store, protocol="confirm"))
        assert whole.splits.train.tolist() == run.splits.train_all.tolist()
        assert whole.selection_split is None
        with pytest.raises(ConfigError, match="selects nothing"):
            whole.select()


def test_where_nothing_is_held_out_folds_may_be_more_than_the_videos(tiny_store):
    sampling = {"segments": 24, "batch": 6, "pairs": 2, "folds": 13}
    with pytest.raises(DataError, match="12 of 12 train videos can be held out, but 13 folds need 13"):
        Run(tiny_config(tiny_store, sampling=sampling))
    for protocol in ("confirm", "paper"):
        assert len(Run(tiny_config(tiny_store, sampling=sampling, protocol=protocol)).splits.train) == 12


def test_selection_keeps_the_first_of_equals_and_says_its_iteration(tiny_store):
    run = Run(tiny_config(tiny_store))
    run.advance(4)
    outcome, improved = run.select()
    assert improved
    assert run.best.iteration == 4
    assert run.best.score == outcome.table.ranking
    assert not run.select()[1]
    assert "holdout, fold 0 of 5, iteration 4" in outcome.table.caption


def test_the_published_habit_is_written_into_the_caption(tiny_store):
    run = Run(tiny_config(tiny_store, protocol="paper"))
    run.advance(1)
    assert "selected on the test set" in run.select()[0].table.caption


class TestForeignCheckpoints:
    def test_other_configuration(self, tiny_store, tmp_path):
        Run(tiny_config(tiny_store)).save(tmp_path / "checkpoint.pt")
        other = Run(tiny_config(tiny_store, method={"delta": 0.31}))
        with pytest.raises(CheckpointError, match=r"method\.delta: .* in the checkpoint, 0\.31 now"):
            other.restore(tmp_path / "checkpoint.pt")

    def test_other_data(self, tiny_store, tmp_path):
        from dce_ray.data.synthetic import generate_synthetic

        Run(tiny_config(tiny_store)).save(tmp_path / "checkpoint.pt")
        other = generate_synthetic(tmp_path / "other", size="tiny", seed=1)
        with pytest.raises(CheckpointError, match="another content"):
            Run(tiny_config(other)).restore(tmp_path / "checkpoint.pt")

    def test_of_an_older_version_can_be_read_but_not_gone_on_with(self, tiny_store, tmp_path, monkeypatch):
        run = Run(tiny_config(tiny_store))
        run.advance(1)
        path = tmp_path / "checkpoint.pt"
        monkeypatch.setattr(checkpoint, "VERSION", 1)
        run.save(path)
        monkeypatch.undo()
        with pytest.raises(CheckpointError, match=r"format version 1.*Start the run anew.*evaluate checkpoint="):
            run.restore(path)
        with pytest.raises(CheckpointError, match="format version 1"):
            run.restore_exactly(path, 1)
        trained = load_trained(path)
        assert (trained.iteration, trained.config.baseline) == (1, "delu")

    def test_of_another_fold(self, tiny_store, tmp_path):
        Run(tiny_config(tiny_store)).save(tmp_path / "checkpoint.pt")
        sampling = {"segments": 24, "batch": 6, "pairs": 2}
        other = Run(tiny_config(tiny_store, sampling=sampling | {"fold": 1}))
        with pytest.raises(CheckpointError, match=r"sampling\.fold: 0 in the checkpoint, 1 now"):
            other.restore(tmp_path / "checkpoint.pt")

    def test_absent_is_not_an_error(self, tiny_store, tmp_path):
        assert Run(tiny_config(tiny_store)).restore(tmp_path / "checkpoint.pt") is False
