"""A model hub on localhost: as much of the Hugging Face wire format as a download needs."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """What the server answers, and what it was asked."""

    repo: str
    folder: Path
    sizes: dict[str, int] = field(default_factory=dict)  # file -> size told instead of the true one
    refuse: dict[str, tuple[int, str]] = field(
        default_factory=dict
    )  # part of a path -> code, error
    asked: list[str] = field(default_factory=list)
    endpoint: str = ""

    def files(self) -> dict[str, Path]:
        paths = sorted(path for path in self.folder.rglob("*") if path.is_file())
        return {path.relative_to(self.folder).as_posix(): path for path in paths}

    def size(self, name: str) -> int:
        return self.sizes.get(name, self.files()[name].stat().st_size)

    def downloads(self) -> set[str]:
        """Names of the files that were really sent."""
        return {
            line.rpartition("/")[2] for line in self.asked if line.startswith("GET /" + self.repo)
        }


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def log_message(self, *_: object) -> None:
        """Be quiet."""

    def _answer(self) -> None:
        hub, path = self.hub, unquote(urlsplit(self.path).path)
        hub.asked.append(f"{self.command} {path}")
        for part, (status, error) in hub.refuse.items():
            if part in path:
                return self._send(status, b"{}", {"X-Error-Code": error} if error else {})
        api, _, rest = path.partition(f"/api/models/{hub.repo}/")
        if not api and rest in ("revision/main", f"revision/{COMMIT}"):
            return self._json({"id": hub.repo, "sha": COMMIT, "siblings": self._siblings()})
        if not api and rest == f"tree/{COMMIT}":
            return self._json([{"type": "file", **entry} for entry in self._tree()])
        if not api and rest.startswith("revision/"):
            return self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        name = path.removeprefix(f"/{hub.repo}/resolve/{COMMIT}/")
        if name in hub.files():
            body = hub.files()[name].read_bytes()
            digest = hashlib.sha256(body).hexdigest()
            return self._send(200, body, {"ETag": f'"{digest}"', "X-Repo-Commit": COMMIT})
        self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})

    def _siblings(self) -> list[dict[str, Any]]:
        return [{"rfilename": name, "size": self.hub.size(name)} for name in self.hub.files()]

    def _tree(self) -> list[dict[str, Any]]:
        return [
            {"path": name, "size": path.stat().st_size, "oid": "0" * 40}
            for name, path in self.hub.files().items()
        ]

    def _json(self, value: object) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


@contextmanager
def serving(repo: str, folder: Path) -> Iterator[Hub]:
    """Serve a folder as the model `repo` for as long as the block lasts."""
    hub = Hub(repo, folder)
    handler = type("Handler", (_Handler,), {"hub": hub})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        hub.endpoint = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()
