"""A hub of one's own: what the real client says to the Hugging Face hub, answered by a server on this machine."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class LocalHub:
    """Repositories in memory: name -> files, whether private, and the messages of their commits.

    ``refuse`` holds beginnings of paths that are answered with 403.
    """

    def __init__(self):
        self.files, self.private, self.commits = {}, {}, {}
        self.refuse = ()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    def close(self):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def create(self, name, *, private=False):
        self.files[name], self.private[name], self.commits[name] = {}, private, []

    def _handler(hub):  # noqa: N805 (the handler has a self of its own)
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *words):
                pass

            def _answer(self, content=b"", code=200, **headers):
                body = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(code)
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def _missing(self, what):
                self._answer({"error": what}, 404, X_Error_Code=what)

            def do_POST(self):
                if "chunked" in self.headers.get("Transfer-Encoding", ""):
                    sent = b""
                    while size := int(self.rfile.readline(), 16):
                        sent += self.rfile.read(size)
                        self.rfile.readline()
                    self.rfile.readline()
                else:
                    sent = self.rfile.read(int(self.headers["Content-Length"]))
                if self.path.startswith(hub.refuse):
                    self._answer({"error": "forbidden"}, 403)
                elif self.path == "/api/repos/create":
                    self._create(json.loads(sent))
                elif self.path == "/api/validate-yaml":
                    self._answer({"errors": [], "warnings": []})
                elif "/preupload/" in self.path:
                    files = [file["path"] for file in json.loads(sent)["files"]]
                    said = [{"path": path, "uploadMode": "regular", "shouldIgnore": False} for path in files]
                    self._answer({"files": said})
                else:
                    self._commit([json.loads(line) for line in sent.splitlines()])

            def _create(self, asked):
                name = f"{asked['organization']}/{asked['name']}"
                known = name in hub.files
                if not known:
                    hub.create(name, private=asked.get("visibility") == "private")
                self._answer({"url": f"{hub.address}/{name}"}, 409 if known else 200)

            def _commit(self, lines):
                _, _, _, owner, name, *_ = self.path.split("/")
                files = hub.files[f"{owner}/{name}"]
                for line in lines:
                    value = line["value"]
                    if line["key"] == "header":
                        hub.commits[f"{owner}/{name}"].append(value["summary"])
                    elif line["key"] == "file":
                        files[value["path"]] = base64.b64decode(value["content"])
                    else:
                        assert line["key"] == "deletedFile"
                        del files[value["path"]]
                self._answer({"commitUrl": f"{hub.address}/{owner}/{name}/commit/{COMMIT}", "commitOid": COMMIT})

            def do_GET(self):
                words = self.path.partition("?")[0].strip("/").split("/")
                api = words[:2] == ["api", "models"]
                name = "/".join(words[2:4] if api else words[:2])
                if name not in hub.files:
                    self._missing("RepoNotFound")
                elif api and words[4:5] == ["tree"]:
                    files = hub.files[name].items()
                    self._answer([{"type": "file", "path": p, "size": len(c), "oid": COMMIT} for p, c in files])
                elif api:
                    self._answer({"id": name, "private": hub.private[name], "sha": COMMIT, "siblings": []})
                elif words[3] not in ("main", "v1"):
                    self._missing("RevisionNotFound")
                elif words[4] not in hub.files[name]:
                    self._missing("EntryNotFound")
                else:
                    content = hub.files[name][words[4]]
                    etag = f'"{hashlib.sha1(content).hexdigest()}"'
                    self._answer(content, ETag=etag, X_Repo_Commit=COMMIT)

            do_HEAD = do_GET

        return Handler
