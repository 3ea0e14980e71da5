"""The way to a cluster: its dashboard's address, the token, equal versions; each fault with its remedy."""

from __future__ import annotations

import logging
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from dce_ray.errors import ClusterError

if TYPE_CHECKING:
    import requests
    from ray.job_submission import JobSubmissionClient

ADDRESS_VARIABLE = "RAY_API_SERVER_ADDRESS"
CONNECT_S = 5.0
"""For so long the address may take to accept a connection."""
ANSWER_S = 60.0
"""For so long one request may take; an upload or download may take longer as long as bytes flow."""
TALKATIVE = (
    *("ray.dashboard.modules.job.sdk", "ray.dashboard.modules.dashboard_sdk"),
    "ray._private.runtime_env.packaging",
)
"""Parts of Ray's client that tell of every package and every end of a connection."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")
TOKENS = (
    "export RAY_AUTH_MODE=token, and give this machine the cluster's token: RAY_AUTH_TOKEN=<token>, or "
    "RAY_AUTH_TOKEN_PATH=<file>, or the head's ~/.ray/auth_token copied here"
)


@dataclass(frozen=True)
class Connection:
    """A dashboard that answered, and what it said of itself."""

    address: str
    client: JobSubmissionClient
    ray_version: str
    warnings: tuple[str, ...] = ()


def connect(address: str | None, *, any_version: bool = False) -> Connection:
    """Reach a cluster's dashboard, or say within seconds why not.

    Args:
        address: ``http://host:port`` or ``https://...``; None takes ``RAY_API_SERVER_ADDRESS``.
        any_version: whether a cluster with another Ray than this machine's will do.

    Raises:
        ClusterError: nobody or something else answers, the token is missing or wrong, the versions differ.
    """
    address = checked_address(address)
    use_token_if_there_is_one()
    import ray
    from ray._private.authentication.http_token_authentication import get_auth_headers_if_auth_enabled

    try:
        said = _ask_version(address, get_auth_headers_if_auth_enabled({}))
    except ray.exceptions.AuthenticationError as fault:
        raise ClusterError(
            f"RAY_AUTH_MODE={os.environ.get('RAY_AUTH_MODE')}: no token is found on this machine. Remedy: {TOKENS}"
        ) from fault
    version = str(said["ray_version"])
    if version != ray.__version__ and not any_version:
        raise ClusterError(
            f"address={address}: the cluster runs Ray {version}, here is Ray {ray.__version__}; both must be the same, "
            f"since what is checked and pinned here has to hold there. Remedy: pip install "
            f"'ray[default,tune]=={version}' here, or start the cluster with Ray {ray.__version__}; versions=any "
            f"submits all the same"
        )
    os.environ[ADDRESS_VARIABLE] = address  # Ray's client prefers a RAY_ADDRESS of the environment to its argument
    return Connection(address, _client(address), version, _open_to_others(address, said))


def checked_address(address: str | None) -> str:
    """The dashboard's address, without what comes behind its port.

    Raises:
        ClusterError: it is none.
    """
    given = address or os.environ.get(ADDRESS_VARIABLE)
    if not given:
        raise ClusterError(
            f"address= is missing: give the dashboard of the cluster's head, such as address=http://10.0.0.1:8265 "
            f"('ray start --head' prints it), or export {ADDRESS_VARIABLE}"
        )
    parts = urlsplit(given)
    try:
        port = parts.port
    except ValueError:
        port = None
    if parts.scheme not in ("http", "https") or not parts.hostname or (port is None and parts.scheme == "http"):
        raise ClusterError(
            f"address={given}: jobs are submitted to the dashboard of the head, written http://<host>:8265 or "
            f"https://<host>; host:6379 and ray://host:10001 are other doors of the same cluster"
        )
    return f"{parts.scheme}://{parts.netloc}"


def use_token_if_there_is_one() -> None:
    """Turn token mode on where this machine has a token and nothing says otherwise.

    Ray's own client refuses to send a token that lies in ``~/.ray/auth_token`` unless ``RAY_AUTH_MODE=token`` is set,
    although the head of a cluster takes the very same file as a reason to ask for it.
    """
    kept = Path(os.environ.get("RAY_AUTH_TOKEN_PATH", Path.home() / ".ray" / "auth_token"))
    if "RAY_AUTH_MODE" not in os.environ and (os.environ.get("RAY_AUTH_TOKEN") or kept.is_file()):
        os.environ["RAY_AUTH_MODE"] = "token"


def _client(address: str) -> JobSubmissionClient:
    from ray.job_submission import JobSubmissionClient

    for name in TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)

    class Patient(JobSubmissionClient):  # type: ignore[misc]  # Ray has no types
        """Ray's client, which waits for ever where a server accepts a connection and says nothing."""

        def _do_request(self, method: str, endpoint: str, **options: Any) -> requests.Response:
            answer: requests.Response = super()._do_request(
                method, endpoint, **({"timeout": (CONNECT_S, ANSWER_S)} | options)
            )
            return answer

    return Patient(address)


def _ask_version(address: str, headers: dict[str, str]) -> dict[str, Any]:
    import requests

    try:
        answer = requests.get(f"{address}/api/version", headers=headers, timeout=(CONNECT_S, ANSWER_S / 4))
        said = answer.json() if answer.ok and "json" in answer.headers.get("Content-Type", "") else {}
    except requests.RequestException as fault:
        raise ClusterError(unreachable(address, fault)) from fault
    if answer.status_code in (401, 403):
        sent = "no token was sent" if answer.status_code == 401 else "the token that was sent is another one"
        raise ClusterError(f"address={address}: the cluster asks for its token, and {sent}. Remedy: {TOKENS}")
    if isinstance(said, dict) and "ray_version" in said:
        return said
    raise ClusterError(
        f"address={address}: something answers there (status {answer.status_code}), but not as Ray's dashboard does. "
        f"Remedy: give the address that 'ray start --head' prints; the head needs pip install 'ray[default]'"
    )


def unreachable(address: str, fault: BaseException) -> str:
    """What to do where nobody listens."""
    reason = "no answer in time" if "timed out" in str(fault).lower() else "nobody answers there"
    if "refused" in str(fault).lower():
        reason = "nobody listens there (connection refused)"
    elif "resolve" in str(fault).lower() or "name or service" in str(fault).lower():
        reason = "no machine has that name"
    elif "certificate" in str(fault).lower():
        reason = f"its certificate is not accepted here ({fault})"
    return (
        f"address={address}: {reason}; it must be the dashboard of a running head. Remedy: see on the head with "
        f"'ray status' whether it runs and start it with --dashboard-host=0.0.0.0 and a token, or make a tunnel: "
        f"ssh -L 8265:127.0.0.1:8265 <head> and address=http://127.0.0.1:8265"
    )


def _open_to_others(address: str, said: dict[str, Any]) -> tuple[str, ...]:
    """A warning where the dashboard asks for no token and can be reached from other machines."""
    seen_at = [address] if urlsplit(address).hostname not in LOOPBACK else _own_addresses(urlsplit(address).port)
    for candidate in seen_at:
        if _same_without_token(candidate, said):
            return (
                f"warning: {candidate} asks for no token: whoever reaches it can run any code on the cluster. Remedy: "
                f"run 'ray get-auth-token --generate' once, give all machines the same ~/.ray/auth_token, export "
                f"RAY_AUTH_MODE=token on all of them and start the cluster again; or start the head with "
                f"--dashboard-host=127.0.0.1 and come through ssh -L",
            )
    return ()


def _own_addresses(port: int | None) -> list[str]:
    """Addresses of this machine under which others may see it, with the port."""
    try:
        found = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect(("192.0.2.1", 9))  # sends nothing; tells which of our addresses faces outwards
            found.add(probe.getsockname()[0])
    except OSError:
        found = set()  # no network, no others
    return [f"http://{ip}:{port}" for ip in sorted(map(str, found)) if not ip.startswith("127.")] if port else []


def _same_without_token(address: str, said: dict[str, Any]) -> bool:
    import requests

    try:
        answer = requests.get(f"{address}/api/version", timeout=CONNECT_S)
        return bool(answer.ok and answer.json().get("session_name") == said.get("session_name"))
    except requests.RequestException:
        return False  # not reachable that way, or no Ray: nothing to warn of
