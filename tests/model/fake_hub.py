"""A hub on loopback that speaks enough of the Hugging Face hub's protocol to take and give model repositories."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_a_made_up_token"


class FakeHub(ThreadingHTTPServer):
    """Repositories in memory, the files of each commit by branch."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repos: dict[str, dict[str, dict[str, bytes]]] = {}
        self.private: dict[str, bool] = {}
        self.requests: list[str] = []
        self.lfs: dict[str, bytes] = {}
        self.broken = 0

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def files(self, repo: str, branch: str = "main") -> dict[str, bytes]:
        return self.repos[repo][branch]


@contextmanager
def fake_hub() -> Iterator[FakeHub]:
    hub = FakeHub()
    thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
        thread.join()


def commit_of(files: dict[str, bytes]) -> str:
    content = b"".join(name.encode() + hashlib.sha1(files[name]).digest() for name in sorted(files))
    return hashlib.sha1(content).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakeHub

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer("HEAD")

    def do_GET(self) -> None:
        self._answer("GET")

    def do_PUT(self) -> None:
        self._answer("PUT")

    def do_POST(self) -> None:
        self._answer("POST")

    def _answer(self, method: str) -> None:
        path = unquote(urlsplit(self.path).path)
        self.body = self.rfile.read(int(self.headers.get("content-length") or 0))
        self.server.requests.append(f"{method} {path}")
        if self.server.broken:
            self._send(self.server.broken, {"error": "the hub is broken"})
            return
        for wanted, pattern, work in _ROUTES:
            found = re.fullmatch(pattern, path)
            if wanted == method and found:
                work(self, *found.groups())
                return
        self._send(404, {"error": f"no such path {path}"})

    def _send(self, status: int, content: Any = None, headers: dict[str, str] | None = None) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"content-length": str(len(body)), "content-type": "application/json"}.items() | (
            headers or {}
        ).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _may_write(self) -> bool:
        if self.headers.get("authorization") == f"Bearer {TOKEN}":
            return True
        self._send(401, {"error": "Invalid username or password."})
        return False

    def _branch(self, repo: str, revision: str) -> dict[str, bytes] | None:
        """Files of a branch or commit; where there are none, the answer that says so is sent."""
        branches = self.server.repos.get(repo)
        if branches is None:
            self._send(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
            return None
        for name, files in branches.items():
            if revision in (name, commit_of(files)):
                return files
        self._send(404, {"error": "Invalid rev id"}, {"X-Error-Code": "RevisionNotFound"})
        return None

    def create(self) -> None:
        if not self._may_write():
            return
        asked = json.loads(self.body)
        repo = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else asked["name"]
        if repo in self.server.repos:
            self._send(409, {"error": "You already created this model repo", "url": self._url(repo)})
            return
        self.server.repos[repo] = {"main": {".gitattributes": b"*.safetensors filter=lfs\n"}}
        self.server.private[repo] = bool(asked.get("private")) or asked.get("visibility") == "private"
        self._send(200, {"url": self._url(repo), "name": repo, "id": repo})

    def _url(self, repo: str) -> str:
        return f"{self.server.address}/{repo}"

    def branch(self, repo: str, name: str) -> None:
        branches = self.server.repos[repo]
        if name in branches:
            self._send(409, {"error": "Reference already exists"})
            return
        branches[name] = dict(branches["main"])
        self._send(200, {})

    def validate_yaml(self) -> None:
        text = json.loads(self.body)["content"]
        good = text.startswith("---\n") and "model-index:" in text
        self._send(200, {"errors": [] if good else [{"message": "no metadata"}], "warnings": []})

    def preupload(self, repo: str, revision: str) -> None:
        found = self._branch(repo, revision) if self._may_write() else None
        if found is not None:
            files = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                    "shouldIgnore": False,
                }
                for file in json.loads(self.body)["files"]
            ]
            self._send(200, {"files": files})

    def lfs_batch(self, repo: str) -> None:
        objects = [
            {
                "oid": one["oid"],
                "size": one["size"],
                "actions": {"upload": {"href": f"{self.server.address}/lfs/{one['oid']}"}},
            }
            for one in json.loads(self.body)["objects"]
        ]
        self._send(200, {"transfer": "basic", "objects": objects})

    def lfs_put(self, oid: str) -> None:
        assert hashlib.sha256(self.body).hexdigest() == oid
        self.server.lfs[oid] = self.body
        self._send(200, {})

    def commit(self, repo: str, revision: str) -> None:
        files = self._branch(repo, revision) if self._may_write() else None
        if files is None:
            return
        after = dict(files)
        for line in self.body.splitlines():
            operation = json.loads(line)
            value = operation["value"]
            match operation["key"]:
                case "file":
                    after[value["path"]] = base64.b64decode(value["content"])
                case "lfsFile":
                    after[value["path"]] = self.server.lfs[value["oid"]]
                case "deletedFile":
                    del after[value["path"]]
        self.server.repos[repo][revision] = after
        oid = commit_of(after)
        self._send(200, {"success": True, "commitOid": oid, "commitUrl": f"{self._url(repo)}/commit/{oid}"})

    def info(self, repo: str, revision: str = "main") -> None:
        files = self._branch(repo, revision)
        if files is not None:
            siblings = [{"rfilename": name} for name in sorted(files)]
            self._send(200, {"id": repo, "sha": commit_of(files), "siblings": siblings, "tags": [], "private": False})

    def tree(self, repo: str, revision: str) -> None:
        files = self._branch(repo, revision)
        if files is not None:
            self._send(
                200,
                [
                    {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                    for name, data in sorted(files.items())
                ],
            )

    def resolve(self, repo: str, revision: str, name: str) -> None:
        files = self._branch(repo, revision)
        if files is None:
            return
        if name not in files:
            self._send(404, {"error": "Entry not found"}, {"X-Error-Code": "EntryNotFound"})
            return
        headers = {
            "X-Repo-Commit": commit_of(files),
            "ETag": f'"{hashlib.sha1(files[name]).hexdigest()}"',
            "content-type": "application/octet-stream",
        }
        self._send(200, files[name], headers)


_REPO = r"([\w.-]+/[\w.-]+)"
_ROUTES = (
    ("POST", r"/api/repos/create", _Handler.create),
    ("POST", r"/api/validate-yaml", _Handler.validate_yaml),
    ("POST", rf"/api/models/{_REPO}/branch/([^/]+)", _Handler.branch),
    ("POST", rf"/api/models/{_REPO}/preupload/([^/]+)", _Handler.preupload),
    ("POST", rf"/{_REPO}\.git/info/lfs/objects/batch", _Handler.lfs_batch),
    ("PUT", r"/lfs/(\w+)", _Handler.lfs_put),
    ("POST", rf"/api/models/{_REPO}/commit/([^/]+)", _Handler.commit),
    ("GET", rf"/api/models/{_REPO}", _Handler.info),
    ("GET", rf"/api/models/{_REPO}/revision/([^/]+)", _Handler.info),
    ("GET", rf"/api/models/{_REPO}/tree/([^/]+)", _Handler.tree),
    ("HEAD", rf"/{_REPO}/resolve/([^/]+)/(.+)", _Handler.resolve),
    ("GET", rf"/{_REPO}/resolve/([^/]+)/(.+)", _Handler.resolve),
)
