"""An S3 server for tests: moto's, with a control room that lets the next requests fail or the second part wait.

`python tests/object_store.py PORT` serves until it is ended. `PUT /control/fail/N` answers the next N requests with
503, `PUT /control/stall` holds back every second part of an upload, `GET /control/parts` counts parts that came in, and
`GET /control/requests` counts all requests but those to the control room.
"""

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs

Answer = Callable[[str, list[tuple[str, str]]], object]


class Control:
    """A layer around the server's application."""

    def __init__(self, application: Callable[[dict, Answer], Iterable[bytes]]) -> None:
        self._application = application
        self._num_failures, self._num_parts, self._num_requests, self._is_stalled = 0, 0, 0, False

    def __call__(self, request: dict, answer: Answer) -> Iterable[bytes]:
        path = request["PATH_INFO"].split("/")
        if path[1] == "control":
            return self._steer(path[2:], answer)
        self._num_requests += 1
        part = parse_qs(request["QUERY_STRING"]).get("partNumber", ["0"])[0]
        self._num_parts += part != "0"
        if self._is_stalled and part == "2":
            time.sleep(60)
        if self._num_failures > 0:
            self._num_failures -= 1
            request["wsgi.input"].read(int(request.get("CONTENT_LENGTH") or 0))
            answer("503 Service Unavailable", [("Content-Type", "application/xml")])
            return [b"<Error><Code>ServiceUnavailable</Code><Message>a hiccup</Message></Error>"]
        return self._application(request, answer)

    def _steer(self, command: list[str], answer: Answer) -> list[bytes]:
        if command[0] == "fail":
            self._num_failures = int(command[1])
        if command[0] == "stall":
            self._is_stalled = True
        counts = {"parts": self._num_parts, "requests": self._num_requests}
        answer("200 OK", [("Content-Type", "text/plain")])
        return [str(counts.get(command[0], self._num_failures)).encode()]


@dataclass(frozen=True)
class Store:
    """A running S3 server with one bucket."""

    endpoint: str

    def uri(self, path: str, bucket: str = "flowers") -> str:
        return f"s3://{bucket}/{path}?endpoint_override={self.endpoint}&scheme=http"

    def control(self, command: str, method: str = "PUT") -> int:
        request = urllib.request.Request(f"http://{self.endpoint}/control/{command}", method=method)
        with urllib.request.urlopen(request, timeout=20) as response:
            return int(response.read())

    def client(self, service: str):
        import boto3

        return boto3.client(service, endpoint_url=f"http://{self.endpoint}", region_name="us-east-1")


def start_store(log: Path) -> tuple[Store, subprocess.Popen]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with log.open("w") as file:
        server = subprocess.Popen(
            [sys.executable, "tests/object_store.py", str(port)], cwd=Path(__file__).parents[1], stderr=file
        )
    store = Store(endpoint=f"127.0.0.1:{port}")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert server.poll() is None, log.read_text()
        try:
            store.control("parts", "GET")
            break
        except OSError:
            time.sleep(0.2)
    store.client("s3").create_bucket(Bucket="flowers")
    return store, server


def main() -> None:
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from werkzeug.serving import run_simple

    application = Control(DomainDispatcherApplication(create_backend_app))
    run_simple("127.0.0.1", int(sys.argv[1]), application, threaded=True, request_handler=MotoRequestHandler)


if __name__ == "__main__":
    main()
