"""A Hugging Face hub on this machine, for tests: models, data sets, and faults on request.

Its root holds ``models/OWNER/NAME/COMMIT`` and ``datasets/OWNER/NAME/COMMIT``: folders with the
files of one commit each. ``main`` is the first of them in the order of their names until
`LoopbackHub.move` says otherwise. The libraries' own clients talk to it through ``HF_ENDPOINT``.
As on the hub, large files lie on a host of their own (``localhost`` here) to which requests for
them are redirected. The xet protocol is not spoken.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple, Self
from urllib.parse import parse_qs, quote, unquote, urlsplit

from hub_commits import Commit
from served_fault import Fault

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Entries of one page of a listing.
PAGE = 1000
MAIN = ("main", "HEAD", "refs/heads/main")


class Request(NamedTuple):
    """One request that arrived, and when (seconds of a monotonic clock)."""

    method: str
    path: str
    time: float


class LoopbackHub:
    """Serves the repositories under a folder on a free port of 127.0.0.1.

    Attributes:
        url: what ``HF_ENDPOINT`` must be.
        requests: all that arrived.
        faults: what goes wrong; the first that meets a request is used.
        gated: beginnings of ``models/OWNER/NAME`` that only ``members`` may read.
        members: tokens with access to what is gated.
        tokens: valid tokens without that access.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.url = ""
        self.requests: list[Request] = []
        self.faults: list[Fault] = []
        self.gated: list[str] = []
        self.members = {"hf_member"}
        self.tokens = {"hf_stranger"}
        self._heads: dict[str, str] = {}
        self._commits: dict[Path, Commit] = {}
        self._lock = threading.Lock()
        self._port = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Begin to answer, on the same port as before a stop."""
        self._server = _Server(("127.0.0.1", self._port), _Handler)
        self._server.hub = self
        self._port = self._server.server_port
        self.url = f"http://127.0.0.1:{self._port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """Refuse connections and close those that are open."""
        self._server.shutdown()
        self._server.server_close()
        self._server.hang_up()

    def move(self, repository: str, commit: str) -> None:
        """Let ``main`` of ``models/OWNER/NAME`` be another commit's folder."""
        self._heads[repository] = commit

    def reset(self) -> None:
        """Forget requests, faults, gates and moves."""
        self.requests.clear()
        self.faults.clear()
        self.gated.clear()
        self._heads.clear()

    def commit(self, repository: str, revision: str = "main") -> Commit | None:
        """Return a commit of ``models/OWNER/NAME``, by its id or as ``main``; None for no such."""
        commits = dict(self._commits_of(repository))
        if not commits:
            return None
        if revision in MAIN:
            return commits[self._heads.get(repository, next(iter(commits)))]
        return next((commit for commit in commits.values() if commit.id == revision), None)

    def exists(self, repository: str) -> bool:
        return (self.root / repository).is_dir()

    def _commits_of(self, repository: str) -> Iterator[tuple[str, Commit]]:
        folder = self.root / repository
        for path in sorted(folder.iterdir()) if folder.is_dir() else []:
            with self._lock:
                if path not in self._commits:
                    self._commits[path] = Commit(path)
            yield path.name, self._commits[path]

    def fault_of(self, method: str, path: str) -> Fault | None:
        """Return what goes wrong with a request, and count it."""
        with self._lock:
            for fault in list(self.faults):  # which tests add to and take from
                if fault.method not in (None, method) or not re.search(fault.match, path):
                    continue
                if fault.times is None:
                    return fault
                if fault.times > 0:
                    fault.times -= 1
                    return fault
        return None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    hub: LoopbackHub

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._open: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, *_: object) -> None:
        """Keep quiet about clients that went away."""

    def hang_up(self) -> None:
        for connection in list(self._open):
            _close(connection)


def _close(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # the other side was quicker
        connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *_: object) -> None:
        """Keep quiet."""

    def do_GET(self) -> None:
        hub, split = self.server.hub, urlsplit(self.path)
        path = unquote(split.path)
        hub.requests.append(Request(self.command, path, time.monotonic()))
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = hub.fault_of(self.command, path) or Fault("")
        time.sleep(fault.delay)
        if fault.move is not None:
            hub.move(*fault.move)
        if fault.drop:
            self._hang_up()
        elif fault.status is not None:
            self._answer(fault.status, b"{}", fault.headers)
        elif path.startswith("/api/"):
            self._api(path, parse_qs(split.query), body)
        elif path.startswith("/large/"):
            repository, commit, name = _take(path.removeprefix("/large/"))
            self._file(repository, commit, name, fault)
        else:
            self._resolve(path, fault)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self.do_GET()

    # What is answered -----------------------------------------------------------------------------

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        given = {"Content-Type": "application/json", "Content-Length": str(len(body))}
        for name, value in (given | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _json(self, value: object, headers: dict[str, str] | None = None) -> None:
        self._answer(200, json.dumps(value).encode(), headers)

    def _refuse(self, status: int, code: str, message: str, **headers: str) -> None:
        said = {"X-Error-Code": code, "X-Error-Message": message}
        self._answer(status, json.dumps({"error": message}).encode(), said | headers)

    def _hang_up(self) -> None:
        self.close_connection = True
        _close(self.connection)

    # What is asked for ----------------------------------------------------------------------------

    def _token(self) -> str:
        return self.headers.get("Authorization", "").removeprefix("Bearer ").strip()

    def _commit(self, repository: str, revision: str) -> Commit | None:
        """Return a commit, or say why there is none."""
        hub = self.server.hub
        if not hub.exists(repository):
            # The hub does not tell strangers what there is.
            status = 404 if self._token() in hub.members | hub.tokens else 401
            self._refuse(status, "RepoNotFound", "Repository not found")
            return None
        commit = hub.commit(repository, revision)
        if commit is None:
            self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return commit

    def _is_gated(self, repository: str) -> bool:
        """Refuse who may not read a gated repository."""
        hub, token = self.server.hub, self._token()
        if token in hub.members or not repository.startswith(tuple(hub.gated)):
            return False
        if token and token not in hub.tokens:
            self._refuse(401, "", "Invalid credentials in Authorization header")
        else:
            status = 403 if token else 401
            self._refuse(status, "GatedRepo", f"Access to {repository} is restricted")
        return True

    def _api(self, path: str, query: dict[str, list[str]], body: bytes) -> None:
        if path == "/api/agent-harnesses":  # the client asks once a day, for its own purposes
            self._json({"standardEnvVars": [], "harnesses": {}})
            return
        found = re.fullmatch(r"/api/((?:models|datasets)/[^/]+/[^/]+)(?:/([^/]+)(?:/(.*))?)?", path)
        if found is None:
            self._refuse(404, "", "no such page")
            return
        repository, action, rest = found[1], found[2] or "revision", found[3] or "main"
        revision, _, folder = rest.partition("/")
        if action not in ("revision", "tree", "paths-info", "refs"):
            self._refuse(404, "", "no such page")
            return
        commit = self._commit(repository, revision)
        if commit is None:
            return
        if action == "revision":
            self._json(self._about(repository, commit))
        elif action == "refs":
            main = {"name": "main", "ref": MAIN[-1], "targetCommit": commit.id}
            self._json({"branches": [main], "tags": [], "converts": []})
        elif action == "paths-info":
            wanted = _asked_paths(body, self.headers.get("Content-Type", ""))
            self._json([commit.entries[name] for name in wanted if name in commit.entries])
        elif folder and folder not in commit.entries:
            self._refuse(404, "EntryNotFound", f"{folder} does not exist on {revision}")
        else:
            recursive = query.get("recursive", [""])[0].lower() in ("true", "1")
            self._page(commit.listing(folder, recursive=recursive), path, query)

    def _about(self, repository: str, commit: Commit) -> dict[str, Any]:
        gated = repository.startswith(tuple(self.server.hub.gated))
        return {
            "id": repository.partition("/")[2],
            "sha": commit.id,
            "gated": "manual" if gated else False,
            "private": False,
            "disabled": False,
            "tags": [],
            "siblings": [{"rfilename": name} for name in commit.files],
        }

    def _page(self, entries: list[dict[str, Any]], path: str, query: dict[str, list[str]]) -> None:
        """Answer one page of a listing with the address of the next."""
        first = int(query.get("cursor", ["0"])[0])
        headers = {}
        if first + PAGE < len(entries):
            kept = [(key, values[0]) for key, values in query.items() if key != "cursor"]
            options = "&".join(f"{key}={value}" for key, value in kept)
            place = f"{self.server.hub.url}{quote(path)}?{options}&cursor={first + PAGE}"
            headers["Link"] = f'<{place}>; rel="next"'
        self._json(entries[first : first + PAGE], headers)

    def _resolve(self, path: str, fault: Fault) -> None:
        """Answer a file, or where it lies."""
        found = re.fullmatch(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        if found is None:
            self._refuse(404, "", "no such page")
            return
        repository, name = f"{(found[1] or 'models/')}{found[2]}", found[4]
        commit = self._commit(repository, found[3])
        if commit is None or self._is_gated(repository):
            return
        if name not in commit.files:
            self._refuse(404, "EntryNotFound", "Entry not found", **{"X-Repo-Commit": commit.id})
            return
        if "lfs" not in commit.entries[name]:
            self._file(repository, commit.id, name, fault)
            return
        etag = f'"{commit.etag(name)}"'
        place = f"http://localhost:{self.server.server_port}/large/{repository}/{commit.id}/"
        headers = {
            "ETag": etag,
            "X-Linked-ETag": etag,
            "X-Linked-Size": str(commit.entries[name]["size"]),
            "X-Repo-Commit": commit.id,
            "Accept-Ranges": "bytes",
            "Location": place + quote(name),
        }
        self._answer(302, b"", headers)

    def _file(self, repository: str, revision: str, name: str, fault: Fault) -> None:
        """Answer the bytes of a file, or the range that was asked for."""
        commit = self.server.hub.commit(repository, revision)
        if commit is None or name not in commit.files:
            self._refuse(404, "EntryNotFound", "Entry not found")
            return
        content = fault.spoil(commit.files[name].read_bytes())
        status, total = 200, len(content)
        headers = {
            "Content-Type": "application/octet-stream",
            "ETag": f'"{commit.etag(name)}"',
            "X-Repo-Commit": commit.id,
            "Accept-Ranges": "bytes",
        }
        if asked := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            first, last = int(asked[1]), min(int(asked[2] or total - 1), total - 1)
            if first >= total:
                self._answer(416, b"", {"Content-Range": f"bytes */{total}"})
                return
            content, status = content[first : last + 1], 206
            headers["Content-Range"] = f"bytes {first}-{last}/{total}"
        self.send_response(status)
        for key, value in (headers | {"Content-Length": str(len(content))}).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self._send(content, fault)

    def _send(self, content: bytes, fault: Fault) -> None:
        size = 1 << 16 if fault.rate is None else max(1, int(fault.rate / 20))
        whole = content if fault.cut is None else content[: fault.cut]
        for start in range(0, len(whole), size):
            self.wfile.write(whole[start : start + size])
            if fault.rate is not None:
                time.sleep(size / fault.rate)
        if len(whole) < len(content):
            self.wfile.flush()
            self._hang_up()


def _take(place: str) -> tuple[str, str, str]:
    """Return repository, commit and name of a large file."""
    kind, owner, repository, commit, name = place.split("/", 4)
    return f"{kind}/{owner}/{repository}", commit, name


def _asked_paths(body: bytes, kind: str) -> list[str]:
    if kind.startswith("application/json"):
        asked = json.loads(body).get("paths", [])
    else:
        asked = parse_qs(body.decode()).get("paths", [])
    return [path.strip("/") for path in ([asked] if isinstance(asked, str) else asked)]
