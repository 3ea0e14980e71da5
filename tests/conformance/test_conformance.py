"""Every line of the table, in each published variant, passes the conformance suite."""

from __future__ import annotations

import pytest
from suite import ConformanceSuite

from dce_ray.baselines import BASELINES

LINES = [(name, variant) for name, baseline in BASELINES.items() for variant in baseline.variants]


@pytest.mark.parametrize("line", LINES, ids="-".join, scope="class")
class TestBaselines(ConformanceSuite):
    @pytest.fixture(autouse=True)
    def _choose(self, line: tuple[str, str]) -> None:
        self.baseline, self.variant = BASELINES[line[0]], line[1]


@pytest.mark.parametrize("name", ["co2net", "delu", "ddgnet"])
def test_both_published_variants_are_there(name: str) -> None:
    assert set(BASELINES[name].variants) == {"thumos14", "activitynet12"}
