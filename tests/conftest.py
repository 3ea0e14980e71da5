"""Data that lives beside the project: tests that need it skip, with the reason, where it is absent."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

# One thread for each process of the tests: several run at once, and more threads than cores wait for each other.
for library in ("OMP", "MKL", "OPENBLAS"):
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")
# Ray runs its workers with a low priority: beside tests that compute they would not get to run for minutes.
os.environ.setdefault("RAY_worker_niceness", "0")

# Searches of other tests that run on this machine, in another process of these too, are not ours to share it with.
os.environ["DCE_SEARCHES"] = tempfile.mkdtemp(prefix="dce-ray-searches-")

import pytest  # noqa: E402
from s3_server import S3, s3_server  # noqa: E402

# A shell that starts the tests in the background has them ignore Ctrl-C, and so would every process that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parent.parent
LONG = """
search/test_kills.py parity/test_method_golden.py cluster/test_scheduling.py cluster/test_storage_search.py
search/test_search_command.py parity/test_baselines_parity.py search/test_search_running.py
search/test_confirm_anew.py test_confounding.py cluster/test_submission.py cluster/test_head_lost.py
tracking/test_mirror.py test_examples.py search/test_campaign.py test_after_a_search.py search/test_further_search.py
search/test_api.py tracking/test_ui.py tracking/test_single_runs.py test_ablate.py train/test_train_command.py
test_mistakes.py train/test_run.py points/test_model.py cluster/test_loopback.py search/test_policy.py
store/test_node_cache.py store/test_store_crash.py test_evaluate.py method/test_em.py
"""
"""Files that take minutes, and that begin first: at the end they would keep one process busy while the others idle."""
BESIDE = ROOT.parent / "shared"


def beside(path: Path, variable: str, what: str) -> Path:
    if not path.exists():
        pytest.skip(f"{what} is not at {path}; set {variable} to its folder")
    return path


@pytest.fixture(scope="session")
def golden() -> Path:
    """Folder of the golden numbers of the published implementations."""
    return beside(Path(os.environ.get("DCE_GOLDEN", BESIDE / "golden")), "DCE_GOLDEN", "the golden data")


@pytest.fixture(scope="session")
def hapt_source() -> Path:
    """Folder of the HAPT data set in the released layout."""
    return beside(Path(os.environ.get("DCE_HAPT", BESIDE / "data" / "hapt")), "DCE_HAPT", "the HAPT data set")


@pytest.fixture(scope="session")
def real_annotations() -> Path:
    """Folder that holds the annotation folders of THUMOS14 and ActivityNet-1.2."""
    return beside(
        Path(os.environ.get("DCE_ANNOTATIONS", BESIDE / "data" / "annotations")),
        "DCE_ANNOTATIONS",
        "the annotations of THUMOS14 and ActivityNet-1.2",
    )


@pytest.fixture(scope="session")
def tiny_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the smallest synthetic store; read only."""
    from dce_ray.data.synthetic import generate_synthetic

    return generate_synthetic(tmp_path_factory.mktemp("synthetic") / "tiny", size="tiny", seed=0)


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """A local S3 that knows one key; nothing leaves this machine."""
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def bucket(s3: S3, monkeypatch: pytest.MonkeyPatch) -> str:
    """Address of a new bucket of the local S3, which this process and those that it starts can reach."""
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    s3.tell("fail", status=503, seconds=0)  # what a test before has told it
    return s3.bucket(f"b{uuid4().hex[:12]}")


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow takes seconds to make its tables: they are made once and copied."""
    from dce_ray.tracking.address import Address
    from dce_ray.tracking.connection import connect, short_requests

    folder = tmp_path_factory.mktemp("empty")
    with short_requests():
        connect(Address(f"sqlite:///{folder / 'mlflow.db'}"))
    return folder / "mlflow.db"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first; the others stay in their order."""
    place = {ROOT / "tests" / name: number for number, name in enumerate(LONG.split())}
    items.sort(key=lambda item: place.get(item.path, len(place)))
