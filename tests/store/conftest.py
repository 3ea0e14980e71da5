"""A small data set in the released layout, to be spoilt by tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_data_set import small_tables, write_small


@pytest.fixture
def small(tmp_path: Path) -> Callable[..., Path]:
    """Writes the small data set, changed by a function of its tables; gives its folder."""

    def write(change: Callable[[dict[str, Any]], Any] = lambda tables: None, name: str = "Small") -> Path:
        tables = small_tables()
        change(tables)
        return write_small(tmp_path / "released", name, tables)

    return write
