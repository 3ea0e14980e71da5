"""MLflow on a real PostgreSQL: the same runs as anywhere else, and its password in no file and on no command line."""

from __future__ import annotations

import getpass
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import mlflow
import pytest
from chromium import free_port
from mirrored import finished_without_model

from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.tracking import start_mirror, sync
from dce_ray.tracking.address import Address
from dce_ray.tracking.mirror import closing_lines
from dce_ray.words import masked

SECRET = "hard/to:guess"
Make = Callable[..., ExperimentFolder]


def programs() -> Path:
    """Folder of PostgreSQL's programs."""
    found = [Path(path).resolve().parent for name in ("initdb",) if (path := shutil.which(name))]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    usable = [path for path in found if (path / "initdb").is_file() and (path / "pg_ctl").is_file()]
    if not usable:
        pytest.skip("PostgreSQL's initdb and pg_ctl are not here; Debian's package is postgresql")
    pytest.importorskip("psycopg", reason="the driver is not installed: pip install 'dce-ray[postgres]'")
    return usable[0]


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """Address of an empty database of a server of our own, its password included."""
    place, port = Path(tempfile.mkdtemp(prefix="dce-ray-postgres-")), free_port()
    bin_folder, user = programs(), getpass.getuser()
    if os.getuid() == 0:  # PostgreSQL does not run as root
        user = next((one.pw_name for one in pwd.getpwall() if one.pw_name in ("postgres", "nobody")), "nobody")
        shutil.chown(place, user)
    word = place / "word"
    word.write_text(SECRET)
    word.chmod(0o644)

    def run(*command: str) -> None:
        options = {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []} if os.getuid() == 0 else {}
        with (place / "log").open("ab") as log:  # no pipe: the server would keep it open
            done = subprocess.run(command, stdout=log, stderr=log, cwd=place, check=False, timeout=120, **options)
        assert done.returncode == 0, (place / "log").read_text()

    data = str(place / "data")
    run(str(bin_folder / "initdb"), "-D", data, "-U", "dce", "-A", "scram-sha-256", "--pwfile", str(word), "-N")
    settings = f"-p {port} -k {place} -c listen_addresses=127.0.0.1 -c fsync=off"
    run(str(bin_folder / "pg_ctl"), "-D", data, "-o", settings, "-l", str(place / "server.log"), "-w", "start")
    try:
        yield f"postgresql://dce:{quote(SECRET, safe='')}@127.0.0.1:{port}/postgres"
    finally:
        run(str(bin_folder / "pg_ctl"), "-D", data, "-m", "immediate", "stop")
        shutil.rmtree(place)


def everything_written(root: Path) -> str:
    files = [path for path in root.rglob("*") if path.is_file() and path.suffix not in (".db", ".png", ".parquet")]
    return "".join(path.read_text(errors="replace") for path in files)


def test_a_search_is_mirrored_into_postgresql_once_and_its_password_is_nowhere(
    database: str, make_experiment: Make, capfd: pytest.CaptureFixture[str]
):
    folder = finished_without_model(make_experiment())
    with start_mirror(folder, database, limit_s=200) as mirror:
        assert mirror.process is not None
        shown = Path(f"/proc/{mirror.process.pid}/cmdline").read_text()
    report = mirror.report
    assert report is not None
    assert report.complete, report
    again = sync(folder, database)
    assert (again.complete, again.created, again.values) == (True, 0, 0), again
    client = mlflow.MlflowClient(database)
    assert len(client.search_runs([report.experiment_id])) == report.runs == 10
    one = client.search_runs([report.experiment_id], "tags.kind = 'confirm' and tags.status = 'finished'")[0]
    assert one.data.metrics["test_score"] in [run.record().value for run in folder.confirmations()]
    assert client.list_artifacts(one.info.run_id)
    told = f"{mirror.message}{report}{again}{shown}{capfd.readouterr()}{everything_written(folder.path.parents[2])}"
    assert masked(database) in told
    assert all(word not in told for word in (SECRET, quote(SECRET, safe="")))


@pytest.mark.parametrize("wrong", ["password", "port"])
def test_a_database_that_lets_nobody_in_is_named_with_the_remedy(database: str, make_experiment: Make, wrong: str):
    folder = make_experiment()
    address = database.replace(quote(SECRET, safe=""), "another-word")
    if wrong == "port":
        address = "postgresql://dce:another-word@127.0.0.1:9/postgres"
    report = sync(folder, address)
    assert not report.complete
    (fault,) = report.faults
    assert masked(address) in fault
    assert "start the database, or mend tracking.uri and its password" in fault
    kept = "".join(path.read_text() for path in (folder.path / "tracking").glob("*.json"))
    assert "another-word" not in f"{report}{kept}{closing_lines(folder, address, Address(address))}"


def test_a_driver_that_is_not_installed_is_named(make_experiment: Make):
    report = sync(make_experiment(), "postgresql+nothere://dce@127.0.0.1:9/postgres")
    assert not report.complete
    assert "pip install 'dce-ray[postgres]'" in report.faults[0]
