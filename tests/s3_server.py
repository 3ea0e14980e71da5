"""A local S3 in a process of its own (moto), which can be told to fail: ``python -m s3_server PORT_FILE``.

``GET /!fail?status=503&seconds=10`` lets every request of S3 fail for so long, ``GET /!key?only=NAME`` refuses all keys
but one, ``GET /!slow?seconds=0.2`` delays every answer, and ``GET /!count?path=TEXT`` says how many bytes of objects
whose address holds TEXT were given.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KEY, SECRET = "local-key", "local-secret-never-shown"


class Faulty:
    """moto's application behind a door that can be told to stay shut."""

    def __init__(self, application: Any) -> None:
        self.application = application
        self.until, self.status = 0.0, 503
        self.only: str | None = None
        self.slow = 0.0
        self.answered: dict[str, int] = {}
        self.lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        path, query = environ["PATH_INFO"], dict(urllib.parse.parse_qsl(environ.get("QUERY_STRING", "")))
        if path.startswith("/!"):
            return self.told(path[2:], query, start)
        if time.monotonic() < self.until:
            return self.refuse(start, self.status, "SlowDown")
        if self.only and f"Credential={self.only}/" not in environ.get("HTTP_AUTHORIZATION", ""):
            return self.refuse(start, 403, "InvalidAccessKeyId")
        return self.counted(environ, start, path)

    def counted(self, environ: dict[str, Any], start: Any, path: str) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] != "GET":
            return self.application(environ, start)
        body = b"".join(self.application(environ, start))
        with self.lock:
            self.answered[path] = self.answered.get(path, 0) + len(body)
        time.sleep(self.slow)
        return [body]

    def told(self, what: str, query: dict[str, str], start: Any) -> Iterable[bytes]:
        answer: Any = None
        if what == "fail":
            self.status, self.until = int(query["status"]), time.monotonic() + float(query["seconds"])
        elif what == "key":
            self.only = query.get("only")
        elif what == "slow":
            self.slow = float(query["seconds"])
        elif what == "count":
            answer = sum(size for path, size in self.answered.items() if query["path"] in path)
        start("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(answer).encode()]

    @staticmethod
    def refuse(start: Any, status: int, code: str) -> Iterable[bytes]:
        start(f"{status} {code}", [("Content-Type", "application/xml")])
        return [f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()]


@dataclass(frozen=True)
class S3:
    """The server as a test sees it."""

    port: int

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to reach it."""
        return {
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def tell(self, what: str, **query: Any) -> Any:
        address = f"http://127.0.0.1:{self.port}/!{what}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(address, timeout=30) as answer:
            return json.loads(answer.read())

    def bucket(self, name: str) -> str:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/{name}", method="PUT")
        request.add_header("Authorization", f"AWS4-HMAC-SHA256 Credential={KEY}/20260101/us-east-1/s3/aws4_request")
        with urllib.request.urlopen(request, timeout=30):
            return f"s3://{name}"


@contextmanager
def s3_server(folder: Path) -> Iterator[S3]:
    """A server on a free port, ended with the block."""
    port_file = folder / "s3-port"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    with (folder / "s3-log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "s3_server", str(port_file)], env=environment, stdout=log, stderr=log
        )
    try:
        until = time.monotonic() + 120
        while not port_file.exists():
            assert process.poll() is None, (folder / "s3-log").read_text()
            assert time.monotonic() < until, "the S3 server does not start"
            time.sleep(0.05)
        yield S3(int(port_file.read_text()))
    finally:
        process.terminate()
        process.wait(30)


def main(port_file: Path) -> None:
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    application = Faulty(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, application, threaded=True)
    partial = port_file.with_suffix(".partial")
    partial.write_text(str(server.port))
    partial.rename(port_file)
    server.serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
