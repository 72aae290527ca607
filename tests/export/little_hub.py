"""A server with as much of the Hugging Face hub's API as its client needs for one model."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class LittleHub:
    """Its address, and what it was asked for.

    Attributes:
        models: folders by OWNER/MODEL, each with one revision, `main`.
        gated: models whose files want a token.
        cut: the next answers with a file are cut off, each after so many bytes.
    """

    models: dict[str, Path]
    gated: set[str] = field(default_factory=set)
    cut: dict[str, list[int]] = field(default_factory=dict)
    url: str = ""
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)  # method, path, Range

    def got(self, file: str) -> list[str | None]:
        """The ranges of every GET of a file."""
        return [span for method, path, span in self.asked if method == "GET" and path.endswith(f"/{file}")]


@contextmanager
def little_hub(**models: Path) -> Iterator[LittleHub]:
    """Serves `owner__model=folder`."""
    hub = LittleHub({name.replace("__", "/"): folder for name, folder in models.items()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: LittleHub

    def log_message(self, *args: object) -> None: ...

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.hub.asked.append((self.command, path, self.headers.get("Range")))
        parts = path.removeprefix("/api/models").strip("/").split("/")
        name, what, revision, *file = "/".join(parts[:2]), *parts[2:]
        if name not in self.hub.models:
            self._refuse(404, "RepoNotFound")
        elif revision not in ("main", COMMIT):
            self._refuse(404, "RevisionNotFound")
        elif what == "resolve" and name in self.hub.gated and "Authorization" not in self.headers:
            self._refuse(401, "GatedRepo")
        elif what == "revision":
            self._json({"id": name, "sha": COMMIT, "siblings": []})
        elif what == "tree":
            self._json([_entry(path, self.hub.models[name]) for path in sorted(self.hub.models[name].rglob("*"))])
        else:
            self._file(self.hub.models[name] / "/".join(file))

    def _json(self, value: object) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _file(self, path: Path) -> None:
        content = path.read_bytes()
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        cuts = self.hub.cut.get(path.name) if self.command == "GET" else None
        self._send(206 if start else 200, content[start:], headers, cuts.pop(0) if cuts else None)

    def _refuse(self, status: int, code: str) -> None:
        self._send(status, b"", {"X-Error-Code": code})

    def _send(self, status: int, body: bytes, headers: dict[str, str], cut: int | None = None) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[:cut])
        self.close_connection = cut is not None


def _entry(path: Path, folder: Path) -> dict[str, object]:
    name = str(path.relative_to(folder))
    if path.is_dir():
        return {"type": "directory", "path": name, "oid": "0" * 40}
    oid = hashlib.sha1(path.read_bytes()).hexdigest()
    return {"type": "file", "path": name, "size": path.stat().st_size, "oid": oid}
