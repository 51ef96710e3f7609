"""A server of one file that behaves as servers do: well, or not."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server(ThreadingHTTPServer):
    """Serves `content` under these paths: /good, /plain (no ranges, no version), /cut (ends early, `cuts` times),
    /corrupt, /stall (ends early and waits), /redirect (to /good), /hub (likewise, and tells the hash `linked`), /loop,
    /login (a page), and 404 elsewhere.
    `asked` has the path and range of every request."""

    daemon_threads = True

    def __init__(self, content):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.tag, self.linked, self.cuts = content, '"1"', "", 1
        self.asked, self.gone_on = [], threading.Event()

    def url(self, path):
        return f"http://127.0.0.1:{self.server_port}{path}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        size = len(self.server.content)
        if self.path == "/hub":
            linked = {"X-Linked-Etag": f'"{self.server.linked}"', "X-Linked-Size": size}
            return self.answer(302, {"Location": "/good", "ETag": self.server.tag, "Content-Length": 0, **linked})
        return self.answer(200 if self.path == "/good" else 404, {"ETag": self.server.tag, "Content-Length": size})

    def do_GET(self):
        asked, content, path = self.headers.get("Range"), self.server.content, self.path
        self.server.asked.append((path, asked))
        if path in {"/redirect", "/hub", "/loop"}:
            return self.answer(302, {"Location": "/loop" if path == "/loop" else "/good", "Content-Length": 0})
        if path == "/login":
            return self.answer(200, {"Content-Length": 5}, b"<html")
        if path not in {"/good", "/plain", "/cut", "/corrupt", "/stall"}:
            return self.answer(404, {"Content-Length": 0})
        begin = self.begin(asked) if path != "/plain" else 0
        if begin >= len(content):
            return self.answer(416, {"Content-Length": 0, "Content-Range": f"bytes */{len(content)}"})
        headers = {"Content-Length": len(content) - begin}
        if path != "/plain":
            headers["ETag"] = self.server.tag
        if begin:
            headers["Content-Range"] = f"bytes {begin}-{len(content) - 1}/{len(content)}"
        return self.answer(206 if begin else 200, headers, self.body(path, begin))

    def begin(self, asked):
        """Return where to begin: at 0 where the version has changed."""
        same = self.headers.get("If-Range") in {None, self.server.tag}
        return int(asked.removeprefix("bytes=").removesuffix("-")) if asked and same else 0

    def body(self, path, begin):
        content = self.server.content
        if path == "/corrupt":
            return content[begin:-1] + bytes([content[-1] ^ 1])
        if path == "/stall" or (path == "/cut" and self.server.cuts > 0):
            self.server.cuts -= 1
            return content[begin : (begin + len(content)) // 2]
        return content[begin:]

    def answer(self, status, headers, body=b""):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()
        if self.path == "/stall":
            self.server.gone_on.wait(20)
        if len(body) < int(headers["Content-Length"]):
            self.close_connection = True

    def log_message(self, *_):
        pass


@contextmanager
def serving(content):
    """Serve `content` until the block ends."""
    with Server(content) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server
        server.gone_on.set()
        server.shutdown()
