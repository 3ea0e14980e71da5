"""What this machine lets this process use: CPUs and memory, where a container has less than its host.

Linux keeps a container's limits in control groups. Both versions of them are read, the process's own group and all
above it, since the tightest counts.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup")
OWN_GROUP = Path("/proc/self/cgroup")
MEMORY = Path("/proc/meminfo")


def usable_cpus(groups: Path = GROUPS, own: Path = OWN_GROUP) -> int:
    """CPUs that this process may use at once: its affinity, or the whole part of its CPU quota, 1 at least."""
    quotas = [quota for folder in _groups(groups, own, "cpu") if (quota := _cpu_quota(folder)) is not None]
    return max(1, int(min([float(len(os.sched_getaffinity(0))), *quotas])))


def available_bytes(groups: Path = GROUPS, own: Path = OWN_GROUP, memory: Path = MEMORY) -> float:
    """Memory that is free or can be freed: of the machine, or what the memory limit leaves."""
    with memory.open(encoding="ascii") as file:
        lines = dict(line.split(":", 1) for line in file)
    host = float(lines["MemAvailable"].split()[0]) * 1024
    left = [free for folder in _groups(groups, own, "memory") if (free := _memory_left(folder)) is not None]
    return max(0.0, min([host, *left]))


def _groups(groups: Path, own: Path, controller: str) -> Iterator[Path]:
    """Folders of the process's groups, from its own up to the root; the second version's and the first's."""
    lines = own.read_text(encoding="ascii").splitlines() if own.is_file() else []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        root = groups / controllers if controllers else groups
        root = root if root.is_dir() else groups / controller
        inside = root / path.lstrip("/")
        yield from (each for each in (inside, *inside.parents) if each.is_relative_to(root))


def _cpu_quota(folder: Path) -> float | None:
    if second := _words(folder / "cpu.max"):
        return None if second[0] == "max" else float(second[0]) / float(second[1])
    quota, period = _words(folder / "cpu.cfs_quota_us"), _words(folder / "cpu.cfs_period_us")
    return float(quota[0]) / float(period[0]) if quota and period and float(quota[0]) > 0 else None


def _memory_left(folder: Path) -> float | None:
    for limit, used, freeable in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        most, now = _words(folder / limit), _words(folder / used)
        if most and now and most[0] != "max":
            pairs = _words(folder / "memory.stat")
            cached = dict(zip(pairs[::2], pairs[1::2], strict=False)).get(freeable, "0")
            return float(most[0]) - float(now[0]) + float(cached)
    return None


def _words(path: Path) -> list[str]:
    """What a file of a group holds; nothing where there is none, as at the root of all groups."""
    return path.read_text(encoding="ascii").split() if path.is_file() else []
