"""Runs on the job's own node: packs folders into one file among Ray's logs, which the dashboard hands out.

The text of this file is the command of a small job (``python -c``): standard library alone, nothing has to be installed
or brought. It says ``packed <file> <bytes> <sha256>``, keeps the file until it is stopped, and removes it then.

A search may be writing meanwhile. What it writes last is read first: its study, then the records of its runs, then all
else, each looked for when its turn comes. So the study that is packed knows of no ended run whose record is not, and no
record says that a file is there that is not. Runs that the study does not know are left out where it is unpacked.
"""

import hashlib
import io
import os
import pathlib
import signal
import sys
import tarfile
import time
from collections.abc import Iterator
from typing import IO

KEPT_S = 3600.0
STUDY, RECORD = "study.journal", "record.json"
RUNS = ("trials", "confirm")
"""Folders with one folder per run."""
STATE = "state"
"""Folder of what a run goes on from: it is rewritten all the time, and of use on its own node alone."""


def pack(folders: list[str], target: pathlib.Path) -> str:
    """Write the folders, each under its number, into a tar file; the line that says so."""
    with tarfile.open(target, "w:gz", compresslevel=1) as archive:
        for number, folder in enumerate(folders):
            pack_one(archive, pathlib.Path(folder), str(number))
    digest = hashlib.sha256()
    with target.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return f"packed {target.name} {target.stat().st_size} {digest.hexdigest()}"


def pack_one(archive: tarfile.TarFile, folder: pathlib.Path, number: str) -> None:
    """Add the files of one folder: the study, the records, then what else there is of runs that have theirs."""
    add(archive, folder, STUDY, number)
    records = {name for name in files_of(folder) if name.endswith(f"/{RECORD}") and add(archive, folder, name, number)}
    for name in files_of(folder):
        parts = name.split("/")
        begun_since = parts[0] in RUNS and "/".join([*parts[:2], RECORD]) not in records
        if name != STUDY and parts[-1] != RECORD and not begun_since:
            add(archive, folder, name, number)


def files_of(folder: pathlib.Path, inner: str = "") -> Iterator[str]:
    """Names of the files that belong to the results: no links, no locks, nothing that is just being written."""
    try:
        entries = sorted((folder / inner).iterdir())
    except FileNotFoundError:  # removed just now
        return
    for entry in entries:
        name = f"{inner}{entry.name}"
        if entry.name.startswith(".") or entry.name == STATE or entry.suffix == ".lock" or entry.is_symlink():
            continue
        if entry.is_dir():
            yield from files_of(folder, f"{name}/")
        elif entry.is_file():
            yield name


def add(archive: tarfile.TarFile, folder: pathlib.Path, name: str, number: str) -> bool:
    """Add a file as it is now; whether there was one: it may have been removed just now."""
    try:
        file = (folder / name).open("rb")
    except FileNotFoundError:
        return False
    with file:
        state, member = os.fstat(file.fileno()), tarfile.TarInfo(f"{number}/{name}")
        member.mtime, member.size = state.st_mtime, state.st_size
        source: IO[bytes] = file
        if name == STUDY or name.endswith(".jsonl"):  # appended to: without the line that is just being written
            content = file.read()
            member.size = content.rfind(b"\n") + 1
            source = io.BytesIO(content)
        archive.addfile(member, source)
    return True


def main() -> None:
    """Pack what the arguments name beside this job's own log: that is where the dashboard looks."""
    folders = sys.argv[1:]
    missing = [folder for folder in folders if not pathlib.Path(folder).is_dir()]
    if missing:
        print("missing " + " ".join(missing), flush=True)
        sys.exit(1)
    own_log = pathlib.Path("/proc/self/fd/1").readlink()
    target = own_log.with_name(f"{own_log.stem}.tar.gz")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        print(pack(folders, target), flush=True)
        time.sleep(KEPT_S)
    finally:
        target.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
