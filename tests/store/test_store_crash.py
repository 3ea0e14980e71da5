"""Processes that are killed, compete, or have no room: either nothing or one whole store is left."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from small_data_set import write_small

from dce_ray.errors import StoreError
from dce_ray.store import Description, FeatureStore, VideoAnnotation, write_store

SLOW = """
import sys, time, logging
import numpy as np
from dce_ray.store import Description, VideoAnnotation, write_store

def videos():
    for row in range(200):
        yield VideoAnnotation(f"v{row}", "train", 1.0, [0]), np.full((64, 256), row + 1, np.float32)
        if row == int(sys.argv[2]):
            print("here", flush=True)
            time.sleep(float(sys.argv[3]))

try:
    write_store(sys.argv[1], Description("Slow", 256, 128, 25.0, 16, ("a",)), videos())
except ValueError as fault:
    sys.exit(f"{type(fault).__name__}: {fault}")
"""
IMPORT = """
import sys
from dce_ray.store import import_released
from dce_ray.errors import DceError
try:
    import_released(sys.argv[1], sys.argv[2])
except DceError as fault:
    sys.exit(f"{type(fault).__name__}: {fault}")
"""


def start(script: str, *arguments: object, **options) -> subprocess.Popen:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, **pipes, **options)


def hidden(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("row", [0, 100, 199])
def test_kill_in_the_middle_leaves_no_store_and_the_next_import_cleans_up(tmp_path, row, caplog):
    target = tmp_path / "store"
    process = start(SLOW, target, row, 60)
    assert process.stdout.readline() == "here\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not target.exists()
    assert len(hidden(tmp_path)) == 1

    process = start(SLOW, target, -1, 0)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "left by an import that was interrupted" in errors
    assert len(FeatureStore.open(target, verify=True)) == 200
    assert hidden(tmp_path) == []


def test_kills_at_random_moments_never_leave_half_a_store(tmp_path):
    target = tmp_path / "store"
    for delay in np.linspace(0.0, 0.12, 7):
        process = start(SLOW, target, 0, 0)
        process.stdout.readline()
        time.sleep(delay)
        process.kill()
        process.communicate()
        if target.exists():
            assert len(FeatureStore.open(target, verify=True)) == 200


def test_interrupted_by_the_user_leaves_nothing(tmp_path):
    process = start(SLOW, tmp_path / "store", 10, 60)
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert list(tmp_path.iterdir()) == []


def test_a_second_importer_is_told_who_is_at_work(tmp_path):
    target = tmp_path / "store"
    first = start(SLOW, target, 10, 4)
    assert first.stdout.readline() == "here\n"
    second = start(SLOW, target, -1, 0)
    _, errors = second.communicate(timeout=60)
    assert second.returncode == 1
    assert "StoreError" in errors
    assert f"another import is writing it now (process {first.pid} on " in errors
    _, errors = first.communicate(timeout=60)
    assert first.returncode == 0, errors
    assert len(FeatureStore.open(target, verify=True)) == 200
    assert hidden(tmp_path) == []


def test_importers_at_the_same_moment_end_with_one_good_store(small, tmp_path):
    source, target = small(), tmp_path / "stores" / "store"
    for _ in range(3):
        processes = [start(IMPORT, source, target) for _ in range(3)]
        results = [(process.communicate(timeout=60)[1], process.returncode) for process in processes]
        assert any(code == 0 for _, code in results), results
        for errors, code in results:
            assert code == 0 or "another import is writing it now" in errors, errors
        assert len(FeatureStore.open(target, verify=True)) == 6
        assert hidden(target.parent) == []
        for file in target.iterdir():
            file.unlink()
        target.rmdir()


def few(value: float = 1.0):
    return [(VideoAnnotation("v", "train", 1.0, [0]), np.full((3, 4), value, np.float32))]


DESCRIPTION = Description("Few", 4, 2, 25.0, 16, ("a",))


def test_a_store_that_appears_meanwhile_is_kept(tmp_path, caplog):
    def late(value):
        yield from few()
        # Another writer that did not see this one: as over a network file system without locks.
        if not (tmp_path / "store").exists():
            write_store(tmp_path / "elsewhere", DESCRIPTION, few(value))
            (tmp_path / "elsewhere").rename(tmp_path / "store")

    write_store(tmp_path / "store", DESCRIPTION, late(1.0))
    assert "holds exactly this data set already" in caplog.text
    (tmp_path / "store").rename(tmp_path / "first")
    with pytest.raises(StoreError, match="store: is a folder that is not empty"):
        write_store(tmp_path / "store", DESCRIPTION, late(2.0))
    assert FeatureStore.open(tmp_path / "store").features(0)[0, 0] == 2
    assert hidden(tmp_path) == []


def test_the_same_data_again_are_kept_and_others_refused(tmp_path, caplog):
    target = tmp_path / "store"
    first = write_store(target, DESCRIPTION, few())
    inode = (target / "features.arrow").stat().st_ino
    assert write_store(target, DESCRIPTION, few()).digest == first.digest
    assert (target / "features.arrow").stat().st_ino == inode
    assert "holds exactly this data set already" in caplog.text
    with pytest.raises(StoreError, match="holds a store with other data; choose another target"):
        write_store(target, DESCRIPTION, few(2.0))
    assert FeatureStore.open(target, verify=True).digest == first.digest
    assert hidden(tmp_path) == []


def test_other_things_at_the_target_are_left_alone(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StoreError, match="file: is a file; choose another target"):
        write_store(tmp_path / "file", DESCRIPTION, few())
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.tex").write_text("mine")
    with pytest.raises(StoreError, match="folder: is a folder that is not empty"):
        write_store(tmp_path / "folder", DESCRIPTION, few())
    (tmp_path / "empty").mkdir()
    write_store(tmp_path / "empty", DESCRIPTION, few())
    assert (tmp_path / "file").read_text() == (tmp_path / "folder" / "thesis.tex").read_text() == "mine"
    assert hidden(tmp_path) == []


def test_living_and_starting_writers_are_not_swept_away(tmp_path):
    starting = tmp_path / ".store.writing-starting"
    starting.mkdir()
    write_store(tmp_path / "store", DESCRIPTION, few())
    assert starting.exists()  # it may be a second old: nobody knows yet
    (tmp_path / "store").rename(tmp_path / "first")
    os.utime(starting, (0, 0))
    living = tmp_path / ".store.writing-living"
    living.mkdir()
    (living / "owner.json").write_text(json.dumps({"process": 1, "host": "elsewhere"}))
    lock = os.open(living, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    with pytest.raises(StoreError, match=r"writing it now \(process 1 on elsewhere\)"):
        write_store(tmp_path / "store", DESCRIPTION, few())
    assert living.exists()
    os.close(lock)
    write_store(tmp_path / "store", DESCRIPTION, few())
    assert hidden(tmp_path) == []


@pytest.mark.parametrize("limit", [100, 20_000, 2_000_000])
def test_full_disk_is_one_clear_message_and_nothing_stays(tmp_path, limit):
    limited = f"import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n" + SLOW
    process = start(limited, tmp_path / "new" / "store", -1, 0)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "StoreError" in errors
    assert "no room to write it (File too large" in errors
    assert "nothing was left behind" in errors
    assert "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []


def test_full_file_system(tmp_path):
    mounted = tmp_path / "disk"
    mounted.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(mounted)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root in a machine that allows it")
    try:
        process = start(SLOW, mounted / "store", -1, 0)
        _, errors = process.communicate(timeout=60)
        assert "no room to write it (No space left on device; 0.00 GB free there)" in errors
        assert list(mounted.iterdir()) == []
    finally:
        subprocess.run(["umount", str(mounted)], check=True)


def test_no_permission(tmp_path):
    (tmp_path / "file").write_text("a file where a folder is needed")
    with pytest.raises(StoreError, match=r"store: may not be written to \(Not a directory|store: cannot be written"):
        write_store(tmp_path / "file" / "store", DESCRIPTION, few())
    with pytest.raises(StoreError, match=r"store: .*nothing was left behind"):
        write_store("/proc/store", DESCRIPTION, few())


MEMORY = """
import sys
from pathlib import Path
from dce_ray.store import FeatureStore, import_released

def status(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))

before = status("VmHWM")
import_released(sys.argv[1], sys.argv[2])
print(status("VmHWM") - before)
before = status("RssAnon")
store = FeatureStore.open(sys.argv[2])
total = sum(float(store.features(video).sum()) for video in range(len(store)))
print(status("RssAnon") - before)
"""


def test_memory_of_an_import_is_the_file_plus_batches_and_of_reading_nothing(tmp_path):
    count = 150
    tables = {
        "features": [np.full((250, 2048), row + 1, np.float32) for row in range(count)],
        "videoname": [f"v{row}".encode() for row in range(count)],
        "subset": [b"validation"] * 100 + [b"test"] * 50,
        "classlist": [b"a"],
        "labels_all": [["a"]] * count,
        "labels": [["a"]] * count,
        "segments": [[[0.0, 1.0]]] * count,
        "duration": [160.0] * count,
        "extracted_fps": [25.0] * count,
    }
    source = write_small(tmp_path / "released", "Big", tables)
    size = (source / "Big-I3D-JOINTFeatures.npy").stat().st_size
    process = start(MEMORY, source, tmp_path / "store")
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    importing, reading = map(int, output.split())
    assert 0.8 * size < importing < size + 0.5e9
    assert reading < 20e6
