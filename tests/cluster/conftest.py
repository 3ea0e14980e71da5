"""One cluster of real processes for all tests of this folder: a head without CPUs and two walled nodes of one CPU."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cluster.loopback import LoopbackCluster, marked


@pytest.fixture(scope="session")
def shared_cluster() -> Iterator[LoopbackCluster]:
    """The cluster itself; use ``loopback``, which repairs it after each test."""
    with LoopbackCluster(2, head_cpus=0, token=True, dashboard=True) as cluster:
        yield cluster
    assert not list(marked(f"{cluster.folder}/"))
    assert not cluster.folder.exists()


@pytest.fixture
def loopback(shared_cluster: LoopbackCluster) -> Iterator[LoopbackCluster]:
    """Two living nodes behind a head that asks for a token; a test may kill nodes and add some, but not the head."""
    yield shared_cluster
    shared_cluster.restore()
