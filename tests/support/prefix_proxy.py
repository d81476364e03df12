"""A reverse proxy that has a server of this machine below a prefix of its own address, and takes the prefix away."""

from __future__ import annotations

import contextlib
import http.client
import http.server

_NOT_PASSED_ON = {"connection", "transfer-encoding"}


class PrefixProxy(http.server.ThreadingHTTPServer):
    """A proxy: `upstream_port` is that of the server behind it, which may be set when it is known."""

    daemon_threads = True
    upstream_port = 0

    def __init__(self, prefix: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.prefix = prefix


class _Handler(http.server.BaseHTTPRequestHandler):
    """Pass on a request, and its answer as it comes."""

    server: PrefixProxy

    def do_GET(self) -> None:
        path = self.path.removeprefix(self.server.prefix)
        if path == self.path or not path.startswith("/"):
            self.send_error(404)
            return
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        upstream = http.client.HTTPConnection("127.0.0.1", self.server.upstream_port)
        with contextlib.closing(upstream), contextlib.suppress(ConnectionError):
            upstream.request(self.command, path, body, dict(self.headers))
            answer = upstream.getresponse()
            self.send_response_only(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in _NOT_PASSED_ON:
                    self.send_header(name, value)
            self.end_headers()
            while part := answer.read1(65_536):
                self.wfile.write(part)

    do_POST = do_GET

    def log_request(self, *_: object) -> None:
        """Write nothing."""
