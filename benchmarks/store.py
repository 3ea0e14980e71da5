"""The feature store against ``np.load(..., allow_pickle=True)`` of the same data in the released layout.

    python -m benchmarks.store megabytes=800 readers=8 repeats=9

Both sides read the same generated videos, draw the same batch (10 videos, 320 snippets each, float32) in a fresh
process each time, and alternate. *Warm*: the files are in the page cache. *Cold*: they were dropped from it before each
process. Memory is the sum over all readers of PSS (private pages whole, shared pages by share) once every one of them
has read everything; *net* leaves out what the same processes held after their imports.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.provenance import provenance
from dce_ray.commandline import command, compose
from dce_ray.store import import_released
from dce_ray.store.layout import write_released

CHANNELS = 2048
TYPICAL_SNIPPETS = 300
CHILD_HEAD = """
import sys, time
import numpy as np
import numpy.random
{imports}
def draw(lengths):
    generator = np.random.default_rng(0)
    videos = generator.choice(len(lengths), 10, replace=False)
    return videos, np.sort(generator.integers(0, np.asarray(lengths)[videos][:, None], (10, 320)), axis=1)
"""
STORE_IMPORTS = "from dce_ray.store import FeatureStore"
STORE_OPEN = "store = FeatureStore.open(sys.argv[1])"
STORE_BATCH = "batch = store.gather(*draw(store.lengths))"
STORE_READ = "total = sum(float(store.features(video).sum()) for video in range(len(store)))"
REFERENCE_OPEN = "features = np.load(sys.argv[1], allow_pickle=True)"
REFERENCE_BATCH = """
videos, snippets = draw([len(matrix) for matrix in features])
batch = np.stack([features[video][rows] for video, rows in zip(videos, snippets)]).astype(np.float32, copy=False)
"""
REFERENCE_READ = "total = sum(float(matrix.sum()) for matrix in features)"
FIRST_BATCH = """
started = time.perf_counter()
{open}
{batch}
print(time.perf_counter() - started, float(batch.sum(dtype=np.float64)), flush=True)
"""
READER = """
print("imported", flush=True)
sys.stdin.readline()
{open}
{read}
print("read", total, flush=True)
sys.stdin.readline()
"""
SIDES = {
    "store": {"imports": STORE_IMPORTS, "open": STORE_OPEN, "batch": STORE_BATCH, "read": STORE_READ},
    "np.load": {"imports": "", "open": REFERENCE_OPEN, "batch": REFERENCE_BATCH, "read": REFERENCE_READ},
}
Timing = tuple[float, float, float]
DEFAULTS = {"megabytes": 800, "readers": 8, "repeats": 9, "cold_repeats": 3, "folder": None}


def generate(folder: Path, megabytes: float) -> Path:
    """A ragged data set of ``megabytes`` MB, D = 2048 float32, in the released layout."""
    generator = np.random.default_rng(0)
    budget = int(megabytes * 1e6 / (4 * CHANNELS))
    lengths: list[int] = []
    while sum(lengths) < budget:
        lengths.append(int(np.clip(generator.lognormal(np.log(TYPICAL_SNIPPETS), 0.6), 30, 2000)))
    features = np.empty(len(lengths), dtype=object)
    for row, length in enumerate(lengths):
        features[row] = generator.standard_normal((length, CHANNELS), dtype=np.float32)
    count = len(lengths)
    tables = {
        "videoname": [f"video_{row}" for row in range(count)],
        "subset": ["training" if row % 2 else "testing" for row in range(count)],
        "labels_all": [["action"]] * count,
        "labels": [["action"]] * count,
        "segments": [[[0.0, 5.0]]] * count,
        "duration": [length * 16 / 25 for length in lengths],
        "extracted_fps": [25.0] * count,
    }
    write_released(folder, "Generated", features, tables, class_names=["action"])
    return folder / "Generated-I3D-JOINTFeatures.npy"


def drop_from_page_cache(path: Path) -> None:
    for file in [path] if path.is_file() else path.iterdir():
        opened = os.open(file, os.O_RDONLY)
        os.fsync(opened)
        os.posix_fadvise(opened, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(opened)


def first_batch(side: str, path: Path) -> Timing:
    """(seconds behind the imports, seconds from the start of the process, sum of the batch)."""
    script = (CHILD_HEAD + FIRST_BATCH).format(**SIDES[side])
    started = time.perf_counter()
    with subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True) as child:
        line = child.stdout.readline()
        whole = time.perf_counter() - started
    seconds, total = map(float, line.split())
    return seconds, whole, total


def measure_first_batch(paths: dict[str, Path], repeats: int, *, cold: bool) -> dict[str, list[Timing]]:
    """Every run of ``first_batch`` by side; the sides alternate."""
    runs: dict[str, list[Timing]] = {side: [] for side in paths}
    for _ in range(repeats):
        for side, path in paths.items():
            if cold:
                drop_from_page_cache(path)
            runs[side].append(first_batch(side, path))
    sums = {run[2] for side in runs.values() for run in side}
    assert len(sums) == 1, f"the sides drew different batches: {sums}"
    return runs


def total_pss(readers: list[subprocess.Popen]) -> float:
    """Bytes of PSS of all processes."""
    total = 0
    for reader in readers:
        lines = Path(f"/proc/{reader.pid}/smaps_rollup").read_text().splitlines()
        total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024
    return total


def measure_memory(side: str, path: Path, count: int) -> tuple[float, float]:
    """(PSS of all readers after reading everything, the same after their imports), bytes."""
    script = (CHILD_HEAD + READER).format(**SIDES[side])
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    readers = [subprocess.Popen([sys.executable, "-c", script, str(path)], **pipes) for _ in range(count)]
    try:
        for reader in readers:
            assert reader.stdout.readline() == "imported\n"
        imported = total_pss(readers)
        for reader in readers:
            reader.stdin.write("\n")
            reader.stdin.flush()
        totals = {reader.stdout.readline() for reader in readers}
        assert len(totals) == 1, f"the readers read different things: {totals}"
        return total_pss(readers), imported
    finally:
        for reader in readers:
            reader.kill()
            reader.communicate()


def report(folder: Path, given: dict) -> None:
    released = folder / "released"
    released.mkdir()
    source = generate(released, given["megabytes"])
    data = source.stat().st_size
    started = time.perf_counter()
    imported = import_released(released, folder / "store")
    print(f"\n{provenance()}")
    print(
        f"{data / 1e6:.0f} MB, {imported.counts['videos']} videos, D = {CHANNELS}, float32; imported in "
        f"{time.perf_counter() - started:.1f} s; median (best) of {given['repeats']}, cold {given['cold_repeats']}\n"
    )
    paths = {"store": folder / "store", "np.load": source}
    print("| | store | np.load | ratio |\n|---|---|---|---|")
    for label, repeats, cold in (("warm", given["repeats"], False), ("cold", given["cold_repeats"], True)):
        times = measure_first_batch(paths, repeats, cold=cold)
        for clock, what in enumerate(("behind the imports", "from the start of the process")):
            seconds = {side: [run[clock] for run in runs] for side, runs in times.items()}
            ours, theirs = (statistics.median(seconds[side]) for side in ("store", "np.load"))
            cells = (f"{statistics.median(values):.3f} ({min(values):.3f})" for values in seconds.values())
            print(f"| first batch, {label}, {what}, s | {' | '.join(cells)} | {theirs / ours:.1f} x sooner |")
    memory = {side: measure_memory(side, path, given["readers"]) for side, path in paths.items()}
    for what, minus in (("whole", 0), ("net of the imports", 1)):
        ours, theirs = (memory[side][0] - minus * memory[side][1] for side in ("store", "np.load"))
        print(
            f"| PSS of {given['readers']} readers, {what}, times the data | {ours / data:.2f} | {theirs / data:.2f} | "
            f"{theirs / ours:.1f} x less |"
        )
    print(json.dumps({"data_bytes": data, "pss_bytes": memory}))


def main(arguments: list[str]) -> None:
    given = compose(DEFAULTS, arguments)
    with tempfile.TemporaryDirectory(prefix="store-benchmark-", dir=given["folder"]) as temporary:
        report(Path(temporary), given)


if __name__ == "__main__":
    command(main, __doc__)
