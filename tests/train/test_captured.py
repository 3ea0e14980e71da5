"""A captured step trains as the eager one does, bit for bit, on graphs that behave like CUDA's."""

from __future__ import annotations

import weakref

import pytest
import recorded_graphs
import torch
from test_run import BASELINES, tiny_config, weights

from dce_ray.errors import ConfigError
from dce_ray.method.em import em_step
from dce_ray.train import Run
from dce_ray.train import run as run_module
from dce_ray.train.captured import WARM_UP

MCM_FROM = 6


@pytest.fixture(autouse=True)
def _graphs(monkeypatch):
    recorded_graphs.install(monkeypatch)
    monkeypatch.setattr(run_module, "check_training", lambda training, device: None)
    # The optimiser of CUDA counts its steps on the device; of those on the CPU one without a count does.
    monkeypatch.setattr(
        run_module,
        "build_optimiser",
        lambda config, network: torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9),
    )
    monkeypatch.setattr(run_module, "load_optimiser", lambda optimiser, state: optimiser.load_state_dict(state))


def config_of(store, baseline="delu", resident="device", graphs=True):
    config = tiny_config(store, baseline, method={"mcm_start_iteration": MCM_FROM})
    return config.replace(training=config.training.replace(graphs=graphs, resident=resident, iterations=14))


def eager(store, *arguments) -> Run:
    """The same step with the same kinds of arguments, never recorded."""
    run = Run(config_of(store, *arguments, graphs=False))
    run._captured = lambda learn, *arguments: learn(*arguments)
    return run


@pytest.mark.parametrize("resident", ["device", "host"])
@pytest.mark.parametrize("baseline", BASELINES)
def test_replays_equal_eager_steps(tiny_store, baseline, resident):
    captured, plain = Run(config_of(tiny_store, baseline, resident)), eager(tiny_store, baseline, resident)
    readings = captured.advance(14), plain.advance(14)
    for reading in readings:
        reading.pop("iterations_per_second")
    assert readings[0] == readings[1]
    assert torch.equal(weights(captured), weights(plain))
    assert recorded_graphs.Graph.made == 2, "one recording without MCM and one with it"


def test_evaluation_and_restoring_between_replays(tiny_store, tmp_path):
    captured, plain = Run(config_of(tiny_store)), eager(tiny_store)
    captured.advance(WARM_UP + 1)
    captured.evaluate("holdout")
    captured.save(tmp_path / "checkpoint.pt")
    captured.advance(2)
    assert recorded_graphs.Graph.made == 1, "restored within one stage: only restoring itself can make a recording anew"
    assert captured.restore(tmp_path / "checkpoint.pt")
    captured.advance(14)
    plain.advance(14)
    assert torch.equal(weights(captured), weights(plain))


def test_a_dropped_run_gives_its_memory_back_at_once(tiny_store):
    run = Run(config_of(tiny_store))
    run.advance(WARM_UP + 2)
    alive = weakref.ref(run)
    del run
    assert alive() is None, "the recording and the run hold each other"


def test_the_first_steps_are_eager(tiny_store):
    run = Run(config_of(tiny_store))
    run.advance(WARM_UP)
    assert recorded_graphs.Graph.made == 0
    run.advance(1)
    assert recorded_graphs.Graph.made == 1


def test_progress_is_an_input_of_the_recording(tiny_store):
    seen = []
    run = Run(config_of(tiny_store))
    objective = run.objective

    class Spy:
        weights = objective.weights

        def __call__(self, outputs, batch, progress):
            seen.append(progress)
            return objective(outputs, batch, progress) | {"progress": progress * 1}

    run.objective = Spy()
    Spy.weights = dict(objective.weights) | {"progress": 0.0}
    run.advance(WARM_UP + 1)
    assert len({id(progress) for progress in seen}) == 1
    assert run.advance(1)["loss/progress"] == pytest.approx(4 / 14)
    assert run.advance(1)["loss/progress"] == pytest.approx(5 / 14)


def test_the_whole_step_compiles_into_one_graph_per_stage(tiny_store):
    baseline = "ddgnet"
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    plain, compiled = eager(tiny_store, baseline), eager(tiny_store, baseline)
    compiled._em_step = torch.compile(em_step, backend="eager", fullgraph=True)
    plain.advance(MCM_FROM + 3)
    compiled.advance(MCM_FROM + 3)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 2
    assert torch.equal(weights(plain), weights(compiled))


def test_compile_covers_the_step(tiny_store, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda function: compiled.append(function) or function)
    config = config_of(tiny_store, graphs=False)
    run = Run(config.replace(training=config.training.replace(compile=True)))
    assert compiled == [em_step]
    run.advance(1)
    assert run._progress.item() == 0.0
    run.advance(1)
    assert run._progress.item() == pytest.approx(1 / 14)


def test_graphs_need_cuda(tiny_store, monkeypatch):
    monkeypatch.undo()
    config = config_of(tiny_store).replace(data="/nowhere")
    with pytest.raises(ConfigError, match=r"training\.graphs=True: device cpu has no graphs; use device=cuda or"):
        Run(config)
