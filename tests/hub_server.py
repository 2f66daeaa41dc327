"""A hub in miniature on this machine, for huggingface_hub's own client: repositories of one branch, kept in memory."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

Files = dict[str, bytes]


class Hub(BaseHTTPRequestHandler):
    """Creating a repository, one commit of files, and fetching them."""

    repositories: dict[str, Files]
    protocol_version = "HTTP/1.1"

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def answer_json(self, value: Any) -> None:
        self.answer(200, json.dumps(value).encode(), Content_Type="application/json")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        host = f"http://{self.headers['Host']}"
        if self.path == "/api/repos/create":
            about = json.loads(body)
            name = f"{about.get('organization') or 'me'}/{about['name']}"
            if name.startswith("somebody-else/"):
                return self.answer(403, b"{}")
            self.repositories.setdefault(name, {})
            return self.answer_json({"url": f"{host}/{name}", "name": name})
        if self.path == "/api/validate-yaml":
            return self.answer_json({"warnings": [], "errors": []})
        name = "/".join(self.path.split("/")[3:5])
        if "/preupload/" in self.path:
            files = [{"path": file["path"], "uploadMode": "regular", "shouldIgnore": False, "oid": None}
                     for file in json.loads(body)["files"]]  # fmt: skip
            return self.answer_json({"files": files})
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                self.repositories[name][line["value"]["path"]] = base64.b64decode(line["value"]["content"])
        self.answer_json({"commitUrl": f"{host}/{name}/commit/1", "commitOid": "1" * 40, "success": True})

    def do_GET(self) -> None:
        owner, name, *_, file = self.path.strip("/").split("/")
        content = self.repositories.get(f"{owner}/{name}", {}).get(file)
        if content is None:
            code = "EntryNotFound" if f"{owner}/{name}" in self.repositories else "RepoNotFound"
            return self.answer(404, X_Error_Code=code, X_Repo_Commit="1" * 40)
        self.answer(200, content, X_Repo_Commit="1" * 40, ETag=f'"{hashlib.sha256(content).hexdigest()}"')

    do_HEAD = do_GET

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def serve(patch: pytest.MonkeyPatch, cache: str) -> Iterator[dict[str, Files]]:
    """The repositories of a hub that huggingface_hub talks to, inside the block; what it fetches is kept in `cache`."""
    handler = type("OneHub", (Hub,), {"repositories": {}})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    for name, value in {
        "ENDPOINT": address, "HUGGINGFACE_CO_URL_TEMPLATE": address + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_CACHE": cache, "HF_HUB_OFFLINE": False,
    }.items():  # fmt: skip
        patch.setattr(f"huggingface_hub.constants.{name}", value)
    try:
        yield handler.repositories
    finally:
        server.shutdown()
        server.server_close()
