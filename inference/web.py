"""Answers HTTP requests from a table of routes: the only file that knows the web framework, which is an optional extra.

It knows methods, paths and JSON objects. It logs neither bodies nor headers, for they carry tokens and people's texts.
"""

from __future__ import annotations

import json
import signal
import socket
import traceback
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from annotations.errors import ConfigError, StandpointError

if TYPE_CHECKING:
    from fastapi import FastAPI, Request

Json = dict[str, Any]
Reply = tuple[int, Json]
Say = Callable[[str], None]

SLOW_THREADS = 16
GRACE_SECONDS = 30


class Route(NamedTuple):
    """What answers one method and path. `handle` runs in a thread; StandpointError becomes status 503."""

    method: str
    path: str
    handle: Callable[[Json], Reply]
    slow: bool = False
    """Runs in threads of its own, so that quick answers never wait for it."""


class _RefusedError(Exception):
    def __init__(self, status: int, why: str) -> None:
        self.status, self.why = status, why


def application(routes: Sequence[Route], *, most_bytes: int, say: Say) -> FastAPI:
    """An ASGI application; bodies longer than `most_bytes` are refused with status 413."""
    from fastapi import FastAPI  # isort: skip
    from anyio import CapacityLimiter, to_thread
    from fastapi.responses import JSONResponse
    from starlette.routing import Route as Place

    slots: list[CapacityLimiter] = []

    def place(route: Route) -> Place:
        async def endpoint(request: Request) -> JSONResponse:
            try:
                raw = await _body(request, most_bytes)
            except _RefusedError as refused:
                say(f"{route.method} {route.path}: refused: {refused.why}")
                return JSONResponse({"error": refused.why}, refused.status)
            # A limiter belongs to the event loop, which does not run before the first request.
            slots[:] = slots or [CapacityLimiter(SLOW_THREADS)]
            limiter = slots[0] if route.slow else None
            status, answer = await to_thread.run_sync(_answer, route, raw, say, limiter=limiter)
            return JSONResponse(answer, status)

        return Place(route.path, endpoint, methods=[route.method])

    # The framework's own documentation pages would load scripts from elsewhere.
    return FastAPI(docs_url=None, redoc_url=None, openapi_url=None, routes=[place(route) for route in routes])


async def _body(request: Request, most_bytes: int) -> bytes:
    """The body of a POST. A page in someone's browser can send any other content type here without being asked."""
    from starlette.requests import ClientDisconnect

    if request.method != "POST":
        return b"{}"
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise _RefusedError(415, "send the header Content-Type: application/json")
    chunks: list[bytes] = []
    size = 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > most_bytes:
                raise _RefusedError(413, f"the body is longer than {most_bytes} bytes; raise max_body_mb, or send less")
            chunks.append(chunk)
    except ClientDisconnect as error:
        raise _RefusedError(400, "the client hung up") from error
    return b"".join(chunks)


def _answer(route: Route, raw: bytes, say: Say) -> Reply:
    try:
        body = json.loads(raw or b"{}")
    except (ValueError, RecursionError):
        return 400, {"error": "the body is not JSON"}
    if not isinstance(body, dict):
        return 400, {"error": "the body is no JSON object"}
    try:
        return route.handle(body)
    except StandpointError as error:
        say(f"{route.method} {route.path}: {error}")
        return 503, {"error": str(error)}
    except Exception as error:
        # The message of an unforeseen error may quote the body; where it arose does not.
        last = traceback.extract_tb(error.__traceback__)[-1]
        say(f"{route.method} {route.path}: failed: {type(error).__name__} at {last.filename}:{last.lineno}")
        return 500, {"error": f"internal error: {type(error).__name__}"}


def run(routes: Sequence[Route], *, host: str, port: int, most_bytes: int, say: Say) -> None:
    """Serve until SIGTERM or Ctrl-C; requests under way are answered first, for at most 30 seconds.

    Port 0 takes a free one; the address is told once requests are taken.

    Raises:
        ConfigError: the address cannot be listened on.
        SystemExit: with status 0, after SIGTERM.
    """
    import uvicorn

    app = application(routes, most_bytes=most_bytes, say=say)
    config = uvicorn.Config(
        app, log_config=None, access_log=False, server_header=False, timeout_graceful_shutdown=GRACE_SECONDS
    )
    with _listener(host, port) as listener:
        say(f"Listening on http://{host}:{listener.getsockname()[1]}")
        # uvicorn raises the signal again when it has finished.
        before = signal.signal(signal.SIGTERM, _leave)
        try:
            uvicorn.Server(config).run(sockets=[listener])
        finally:
            signal.signal(signal.SIGTERM, before)


def _leave(*_: object) -> None:
    raise SystemExit(0)


def _listener(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise ConfigError(f"{host}:{port}", f"cannot be listened on ({error.strerror}); set another port=…") from error
