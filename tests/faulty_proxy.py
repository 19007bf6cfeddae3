"""A proxy between client and server that fails when told to: errors, lost answers, slowness. Real sockets, no mocks."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx

PASS, LOSE_ANSWER, REFUSE, BREAK, UNAUTHORIZED = "pass", "lose answer", "refuse", "break", "unauthorized"
DROPPED = {"host", "content-length", "transfer-encoding", "connection", "accept-encoding", "content-encoding"}


class FaultyProxy:
    """Forwards to `upstream`; `rule(method, path)` says what happens to each request. `seen` lists them."""

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream.rstrip("/")
        self.rule: Callable[[str, str], str] = lambda method, path: PASS
        self.seen: list[tuple[str, str]] = []
        self.delay = 0.0
        self._client = httpx.Client(trust_env=False, timeout=60)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def count(self, method: str, pattern: str) -> int:
        return sum(seen == method and bool(re.search(pattern, path)) for seen, path in self.seen)

    @contextlib.contextmanager
    def running(self) -> Iterator[FaultyProxy]:
        thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            self._client.close()
            thread.join(10)

    def _handler(proxy) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *args: object) -> None:
                pass

            def _forward(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                fate = proxy.rule(self.command, self.path)
                proxy.seen.append((self.command, self.path))
                if fate == REFUSE:
                    self.close_connection = True
                    self.connection.close()
                    return
                if fate in (BREAK, UNAUTHORIZED):
                    self._answer(500 if fate == BREAK else 401, b'{"detail": "told to fail"}', "application/json")
                    return
                time.sleep(proxy.delay)
                headers = {name: value for name, value in self.headers.items() if name.lower() not in DROPPED}
                answer = proxy._client.request(self.command, proxy.upstream + self.path, content=body, headers=headers)
                if fate == LOSE_ANSWER:
                    self.close_connection = True
                    self.connection.close()
                    return
                self._answer(answer.status_code, answer.content, answer.headers.get("content-type", "text/plain"))

            def _answer(self, status: int, content: bytes, kind: str) -> None:
                with contextlib.suppress(OSError):
                    self.send_response(status)
                    self.send_header("content-type", kind)
                    self.send_header("content-length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)

            do_GET = do_POST = do_PATCH = do_DELETE = do_PUT = _forward  # noqa: N815

            def handle(self) -> None:
                with contextlib.suppress(OSError, ValueError):
                    super().handle()

            def finish(self) -> None:
                with contextlib.suppress(OSError, ValueError):
                    super().finish()

        return Handler
