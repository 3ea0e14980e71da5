"""One cluster of real processes for all tests of this folder: a head without CPUs and two walled nodes of one CPU."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cluster.loopback import LoopbackCluster, marked
from s3_server import S3


@pytest.fixture(scope="session")
def shared_cluster(s3: S3) -> Iterator[LoopbackCluster]:
    """The cluster itself, whose nodes reach a local S3; use ``loopback``, which repairs it after each test."""
    with LoopbackCluster(2, head_cpus=0, token=True, dashboard=True, environment=s3.environment) as cluster:
        yield cluster
    assert not list(marked(f"{cluster.folder}/"))
    assert not cluster.folder.exists()


@pytest.fixture
def loopback(shared_cluster: LoopbackCluster) -> Iterator[LoopbackCluster]:
    """Two living nodes behind a head that asks for a token; a test may kill nodes and add some, but not the head."""
    yield shared_cluster
    shared_cluster.restore()
