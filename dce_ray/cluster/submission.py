"""What a submitted search consists of: checked arguments, the code, what has to be installed, the command."""

from __future__ import annotations

import contextlib
import json
import platform
import shlex
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from dce_ray.cluster.afterwards import OPTIONS
from dce_ray.cluster.connection import Connection
from dce_ray.cluster.own_files import with_own_files
from dce_ray.commandline import apply, flatten, parse
from dce_ray.config_base import Config, choice
from dce_ray.data.synthetic import SIZES
from dce_ray.errors import ClusterError, ConfigError
from dce_ray.places import Place, is_bucket, refuse_credentials
from dce_ray.presets import DATA_SETS
from dce_ray.provenance import COMMIT_VARIABLE, commit
from dce_ray.search.__main__ import known_keys, request_of, spelled_out
from dce_ray.search.campaign import SEVERAL, spread_out
from dce_ray.search.options import ConfirmOptions
from dce_ray.search.settings import CHANGEABLE, Settings, build_experiment
from dce_ray.version import VERSION
from dce_ray.words import masked

PACKAGES = ("dce_ray", "trainables", "search_spaces")
SAID_AGAIN = ("folder", "python", "runtime_env", "code", "versions")
"""Keys of a submission that say where and by what its search runs, and so hold for the next one as well."""
STOP_S = 60
"""For so long a stopped search may take to end tidily; Ray's default of 3 s is a kill."""


@dataclass(frozen=True, slots=True)
class SubmitOptions(Config):
    """Keys of ``submit``, before ``--``."""

    address: str | None = None
    code: str = "here"
    """``here``: this machine's dce_ray; ``none``: the nodes have it installed; or a wheel."""
    runtime_env: str = choice("lock", "lock", "none")
    """``lock``: the nodes install the lock file; ``none``: they have what is needed."""
    folder: str = "~/dce-ray"
    """On the head: where results go, and what relative paths of the search count from."""
    python: str = "python"
    """The head's Python: a name on its PATH or an absolute path."""
    job: str | None = None
    """Name of the job; None makes one."""
    follow: bool = True
    """Whether to show the log until the job has ended, and to end with its status."""
    versions: str = choice("equal", "equal", "any")
    """Whether a cluster with another Ray or Python than this machine's is refused."""

    def faults(self) -> list[str]:
        """Also: the code is there."""
        lines = Config.faults(self)
        if not lines and self.code not in ("here", "none"):
            wheel = Path(self.code)
            if wheel.suffix != ".whl" or not wheel.is_file():
                lines.append(
                    f"code={self.code}: must be here, none, or a wheel that exists (python -m pip wheel --no-deps .)"
                )
        if not lines and self.job is not None and not self.job.replace("-", "").replace("_", "").isalnum():
            lines.append(f"job={self.job!r}: letters, digits, - and _ only")
        return lines


def check_search(arguments: Sequence[str]) -> None:
    """Refuse here what the search would refuse there, as far as it can be told without the data.

    Raises:
        DceError: as the search's own.
        ConfigError: the data lies where only this machine can find it.
    """
    values = parse(arguments, known_keys, SEVERAL)
    for key, value in flatten(values).items():
        _refuse_secrets(key, value)
    if "resume" in values:
        if not values["resume"]:
            raise ConfigError("resume=: names no folder; give the experiment folder on the cluster to go on with")
        changes = spelled_out({key: value for key, value in values.items() if key != "resume"})
        at_storage = is_bucket(values["resume"]) or Path(str(values["resume"])).is_absolute()  # the head sees which
        allowed = (*CHANGEABLE, "results") if at_storage else CHANGEABLE
        if wrong := [key for key in changes if key not in allowed]:
            raise ConfigError(
                f"resume= goes on with what was asked; {', '.join(wrong)} cannot be changed. "
                f"These may be: {', '.join(allowed)}"
            )
        _check_alone(changes)
        return
    for one in spread_out(values) or [values]:
        request = request_of(one)
        build_experiment(request, request.data, "default")
        _check_data(request.data)
        _check_path("storage", request.settings.storage)
        _check_path("annotations", request.importing.annotations)
        if request.settings.storage:
            Place.at(request.settings.storage)


def _check_alone(changes: Mapping[str, Any]) -> None:
    """Refuse values of ``resume=`` that no folder takes, passwords among them.

    Each is looked at by itself: what it may be beside others (``confirm.seeds`` beside ``confirm.max_seeds``) depends
    on what the folder holds, and is left to the head.
    """
    unbound = Settings(confirm=ConfirmOptions(precision=None)).to_mapping()
    faults = []
    for key, value in changes.items():
        try:
            Settings.from_mapping(apply(unbound, {key: value}))
        except ConfigError as fault:
            faults.append(str(fault))
    if faults:
        raise ConfigError("\n".join(faults))


def _refuse_secrets(key: str, value: Any) -> None:
    """Refuse an address with credentials before it reaches the cluster, where logs and the dashboard would show it."""
    for one in value if isinstance(value, list) else [value]:
        if is_bucket(one):
            refuse_credentials(str(one), key)
        elif key != "tracking.uri" and masked(str(one)) != str(one):  # that has a remedy of its own
            raise ConfigError(
                f"{key}={str(one).partition('://')[0]}://...: holds a password or token, which the cluster would keep "
                f"and show; give it in the environment of the nodes, and the address without it"
            )


def _check_path(key: str, path: str | None) -> None:
    """Refuse a path that means one place here and another on the head."""
    if path is not None and "://" not in path and not Path(path).expanduser().is_absolute():
        instead = ", or s3://..." if key == "storage" else ""
        raise ConfigError(
            f"{key}={path}: this path counts from a folder on the cluster's head, where nothing of this machine lies. "
            f"Give an absolute path that every node has{instead}"
        )


def _check_data(data: str) -> None:
    named = [name for name, entry in DATA_SETS.items() if entry.store_names]
    names = [*named, *(f"synthetic-{size}" for size in SIZES)]
    if data not in ["synthetic", *names] and "://" not in data and not Path(data).expanduser().is_absolute():
        raise ConfigError(
            f"data={data}: this path counts from a folder on the cluster's head, where nothing of this machine lies. "
            f"Give an absolute path that every node has, s3://..., or the name of a data set "
            f"({', '.join(names)})"
        )


def new_job_id() -> str:
    """A name for a job: the time, and four letters against equal ones."""
    return f"dce-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{uuid.uuid4().hex[:4]}"


def lock_lines() -> list[str]:
    """The pinned requirements that a job installs; Ray itself is left out, the node's own runs the job."""
    text = files("dce_ray.cluster").joinpath("requirements.txt").read_text()
    return [line for line in text.splitlines() if line and not line.startswith(("#", "ray=="))]


@contextlib.contextmanager
def code_folder() -> Iterator[Path]:
    """A folder that holds this machine's code and nothing else, from a checkout or an installed wheel alike."""
    source = Path(__file__).resolve().parents[2]
    with tempfile.TemporaryDirectory(prefix="dce-ray-code-") as folder:
        present = [package for package in PACKAGES if (source / package).is_dir()]  # a wheel has them in dce_ray
        for package in present:
            skipped = shutil.ignore_patterns("__pycache__", "*.pyc", ".*")
            shutil.copytree(source / package, Path(folder) / package, ignore=skipped)
        yield Path(folder)


def runtime_environment(options: SubmitOptions, code: Path | None) -> dict[str, Any]:
    """Ray's description of what the job runs in.

    Args:
        options: of the submission.
        code: folder of the code, for ``code=here``.
    """
    variables = {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_S), COMMIT_VARIABLE: commit(), "PYTHONUNBUFFERED": "1"}
    environment: dict[str, Any] = {"env_vars": variables}
    if code is not None:
        environment["working_dir"] = str(code)
    elif options.code != "none":
        environment["py_modules"] = [str(Path(options.code).resolve())]
    if options.runtime_env == "lock":
        environment["pip"] = {"packages": lock_lines(), "pip_check": False}
    return environment


def entrypoint(options: SubmitOptions, arguments: Sequence[str], job: str) -> str:
    """The command that the head's shell runs; a new experiment is called like its job unless it has a name."""
    named = [] if any(part.startswith(("name=", "resume=")) for part in arguments) else [f"name={job}"]
    version = ".".join(platform.python_version_tuple()[:2]) if options.versions == "equal" else "any"
    own = with_own_files(arguments, job)
    words = [options.python, "-m", "dce_ray.cluster.entry", version, options.folder, *own, *named]
    return shlex.join(words)


def again(options: SubmitOptions) -> dict[str, str]:
    """What is to be said again when the search goes on: that which is not as by default, by key."""
    usual = SubmitOptions()
    given = {key: str(getattr(options, key)) for key in SAID_AGAIN if getattr(options, key) != getattr(usual, key)}
    if given.get("code", "none") != "none":
        given["code"] = str(Path(given["code"]).resolve())
    return given


def submit(connection: Connection, options: SubmitOptions, arguments: Sequence[str]) -> str:
    """Bring the code and start the job; the job's name.

    Raises:
        ClusterError: the cluster does not take it.
    """
    job = options.job or new_job_id()
    with contextlib.ExitStack() as stack:
        code = stack.enter_context(code_folder()) if options.code == "here" else None
        wanted = {
            "entrypoint": entrypoint(options, arguments, job),
            "submission_id": job,
            "runtime_env": runtime_environment(options, code),
            "metadata": {"dce_ray": VERSION, "arguments": shlex.join(arguments), OPTIONS: json.dumps(again(options))},
        }
        try:
            return str(connection.client.submit_job(**wanted))
        except (RuntimeError, ValueError, OSError) as fault:
            raise ClusterError(_refusal(connection.address, job, fault)) from fault


def _refusal(address: str, job: str, fault: BaseException) -> str:
    if "already been used" in str(fault) or "already exists" in str(fault):
        return (
            f"job={job}: the cluster at {address} has a job of that name; give another one, or leave job= out. "
            f"'python -m dce_ray.cluster list' shows all"
        )
    if "No available agent" in str(fault):
        return (
            f"job={job}: the cluster at {address} has no agent that takes jobs. Remedy: try again where it has just "
            f"started; else the agent's port is taken, as by another Ray on the head's machine (dashboard_agent.log "
            f"there says so): start the head and its nodes with --dashboard-agent-listen-port=<a free port>"
        )
    said = " ".join(str(fault).split())[-400:].rstrip(".")
    return f"job={job}: the cluster at {address} does not take the job: {said}"
