"""One thread for the model's linear algebra: its matrices are small, and the cores belong to the runs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import cache

from threadpoolctl import ThreadpoolController


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Keep BLAS to one thread for as long as the block runs.

    Beside runs that compute on all cores, the threads of a matrix of a hundred rows wait for each other 20 times as
    long as they compute.
    """
    with _controller().limit(limits=1, user_api="blas"):
        yield


@cache
def _controller() -> ThreadpoolController:
    import scipy.linalg  # noqa: F401  (its BLAS is another one than NumPy's, and must be loaded to be found)

    return ThreadpoolController()
