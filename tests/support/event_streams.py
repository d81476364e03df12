"""Answers of models as streams of server-sent events, over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.support.http_servers import serving


@contextmanager
def event_streams(answers: Mapping[str, Sequence[Mapping[str, Any]]]) -> Iterator[str]:
    """Serve the events of each API, by the last part of its path, and give the address of the server."""

    class Answers(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            for data in answers[self.path.partition("?")[0].rpartition("/")[2]]:
                name = f"event: {data['type']}\n" if "type" in data else ""
                self.wfile.write(f"{name}data: {json.dumps(data)}\n\n".encode())
            if self.path.endswith("completions"):
                self.wfile.write(b"data: [DONE]\n\n")

        def log_message(self, *_: Any) -> None:
            pass

    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Answers)) as port:
        yield f"http://127.0.0.1:{port}"
