"""Runs on the job's own node: packs folders into one file among Ray's logs, which the dashboard hands out.

The text of this file is the command of a small job (``python -c``): standard library alone, nothing has to be installed
or brought. It says ``packed <file> <bytes> <sha256>``, keeps the file until it is stopped, and removes it then.
"""

import hashlib
import pathlib
import signal
import sys
import tarfile
import time

KEPT_S = 3600.0


def pack(folders: list[str], target: pathlib.Path) -> str:
    """Write the folders, each under its number, into a tar file; the line that says so."""
    with tarfile.open(target, "w:gz", compresslevel=1) as archive:
        for number, folder in enumerate(folders):
            archive.add(folder, arcname=str(number))
    digest = hashlib.sha256()
    with target.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return f"packed {target.name} {target.stat().st_size} {digest.hexdigest()}"


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
