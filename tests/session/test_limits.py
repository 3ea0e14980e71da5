"""A container's limits, read from made-up control groups of both versions."""

import os

import pytest

from dce_ray.session.limits import available_bytes, usable_cpus

GIB = 2**30


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Eight CPUs, 32 GiB free; writes groups and reads what is left."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    meminfo = tmp_path / "meminfo"
    meminfo.write_text(f"MemTotal: {64 * 2**20} kB\nMemAvailable: {32 * 2**20} kB\n")
    groups, own = tmp_path / "groups", tmp_path / "own"
    groups.mkdir()

    def machine(group, files):
        own.write_text(group)
        for name, text in files.items():
            (groups / name).parent.mkdir(parents=True, exist_ok=True)
            (groups / name).write_text(text)
        return usable_cpus(groups, own), available_bytes(groups, own, meminfo) / GIB

    return machine


def test_without_limits_the_machine_counts(machine):
    assert machine("0::/\n", {}) == (8, 32.0)
    assert machine("0::/a\n", {"a/cpu.max": "max 100000", "a/memory.max": "max"}) == (8, 32.0)


def test_second_version_the_tightest_group_counts(machine):
    files = {
        "a/cpu.max": "350000 100000",
        "a/b/cpu.max": "max 100000",
        "a/memory.max": str(10 * GIB),
        "a/memory.current": str(4 * GIB),
        "a/memory.stat": f"anon 1\ninactive_file {GIB}\n",
        "a/b/memory.max": str(20 * GIB),
        "a/b/memory.current": "0",
    }
    assert machine("0::/a/b\n", files) == (3, 7.0)


def test_a_container_sees_its_own_group_as_the_root(machine):
    assert machine("0::/\n", {"cpu.max": "50000 100000"}) == (1, 32.0)


def test_first_version(machine):
    files = {
        "cpu,cpuacct/docker/cpu.cfs_quota_us": "200000",
        "cpu,cpuacct/docker/cpu.cfs_period_us": "100000",
        "memory/docker/memory.limit_in_bytes": str(2 * GIB),
        "memory/docker/memory.usage_in_bytes": str(GIB),
    }
    assert machine("4:memory:/docker\n3:cpu,cpuacct:/docker\n", files) == (2, 1.0)


def test_first_version_without_limits(machine):
    files = {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}
    assert machine("3:cpu:/\n", files) == (8, 32.0)


def test_this_machine_has_something():
    assert usable_cpus() >= 1
    assert available_bytes() > 2**20
