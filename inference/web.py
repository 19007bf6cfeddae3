"""Answers HTTP requests from tables of routes: the only file that knows the web framework, which is an optional extra.

A `Route` takes a JSON object and gives one, in a thread; an `Endpoint` takes a `Call` and gives an `Answer`, in the event
loop, and may stream both. Neither bodies nor headers are logged, for they carry tokens and people's texts.
"""

from __future__ import annotations

import asyncio
import json
import traceback
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from annotations.errors import StandpointError
from inference.listening import HANG_UP, LOST, Application, serve

if TYPE_CHECKING:
    from fastapi import FastAPI, Request, Response

Json = dict[str, Any]
Reply = tuple[int, Json]
Say = Callable[[str], None]

SLOW_THREADS = 16
GRACE_SECONDS = 30
PIECE = 1 << 16
"""Bytes of an answer that are sent at once."""


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
    if _media_type(request.headers.get("content-type")) != "application/json":
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
        say(f"{route.method} {route.path}: {failure(error)}")
        return 500, {"error": f"internal error: {type(error).__name__}"}


def failure(error: Exception) -> str:
    """What may be logged of an unforeseen error: its message may quote the body; where it arose does not."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"failed: {type(error).__name__} at {last.filename}:{last.lineno}"


def _media_type(header: str | None) -> str:
    """A content type in lower case, without parameters."""
    return (header or "").partition(";")[0].strip().lower()


def run(routes: Sequence[Route], *, host: str, port: int, most_bytes: int, say: Say) -> None:
    """Serve until SIGTERM or Ctrl-C; requests under way are answered first, for at most 30 seconds.

    Port 0 takes a free one; the address is told once requests are taken.

    Raises:
        ConfigError: the address cannot be listened on.
        SystemExit: with status 0, after SIGTERM.
    """
    app = application(routes, most_bytes=most_bytes, say=say)
    serve(app, host=host, port=port, say=say, drain_seconds=GRACE_SECONDS)
    raise SystemExit(0)


class HungUpError(Exception):
    """The client is gone."""


class Call:
    """A request as an endpoint sees it."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self.method, self.path = request.method, request.url.path

    def header(self, name: str) -> str | None:
        """A header's value."""
        return self._request.headers.get(name)

    @property
    def content_type(self) -> str:
        """The media type of the body, in lower case, without parameters."""
        return _media_type(self.header("content-type"))

    @property
    def query(self) -> dict[str, str]:
        """The query's parameters; of one that is repeated, the last."""
        return dict(self._request.query_params)

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes; raises HungUpError where the client leaves before its end."""
        from starlette.requests import ClientDisconnect

        try:
            async for chunk in self._request.stream():
                yield chunk
        except ClientDisconnect:
            raise HungUpError from None

    async def discard(self, seconds: float) -> None:
        """Read what is still to come of the body, for so long at most; where a connection ends before, its answer may be lost."""
        # starlette's RuntimeError says that all has been read.
        with suppress(TimeoutError, HungUpError, RuntimeError):
            async with asyncio.timeout(seconds):
                async for _ in self.chunks():
                    pass

    async def gone(self) -> None:
        """Wait until the client is gone; only after the body has been read."""
        while (await self._request.receive())["type"] != "http.disconnect":
            pass


class Answer(NamedTuple):
    """What is sent back."""

    status: int
    body: bytes | AsyncGenerator[bytes]
    media_type: str = "application/json"
    headers: Mapping[str, str] = {}


class Endpoint(NamedTuple):
    """What answers one method and path; `handle` runs in the event loop and raises nothing but HungUpError."""

    method: str
    path: str
    handle: Callable[[Call], Awaitable[Answer]]


def endpoints_application(
    endpoints: Sequence[Endpoint], *, other: Callable[[int, Mapping[str, str]], Answer], write_seconds: float
) -> Application:
    """An ASGI application; `other` answers what no endpoint does (404, 405).

    A client that takes nothing of its answer for `write_seconds` is hung up on.
    """
    from fastapi import FastAPI  # isort: skip
    from starlette.exceptions import HTTPException
    from starlette.routing import BaseRoute
    from starlette.routing import Route as Place

    def place(endpoint: Endpoint) -> Place:
        async def respond(request: Request) -> Response:
            try:
                return _response(await endpoint.handle(Call(request)))
            except HungUpError:
                return _response(Answer(499, b""))

        return Place(endpoint.path, respond, methods=[endpoint.method])

    async def unknown(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return _response(other(error.status_code, error.headers or {}))

    places: list[BaseRoute] = [place(endpoint) for endpoint in endpoints]
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, routes=places, redirect_slashes=False)
    app.add_exception_handler(HTTPException, unknown)
    return _patient(app, write_seconds)


def _response(answer: Answer) -> Response:
    from starlette.responses import Response

    class Streamed(Response):
        """The framework's own would read the rest of the request in our stead, to see whether the client is there."""

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            # Whoever hangs up ends what is still being made for him, and not only when memory is next collected.
            async with aclosing(_pieces(answer.body)) as pieces:
                async for piece in pieces:
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    if isinstance(answer.body, bytes):
        kind = Response if len(answer.body) <= PIECE else Streamed
        return kind(answer.body, answer.status, dict(answer.headers), answer.media_type)
    made = Streamed(None, answer.status, dict(answer.headers), answer.media_type)
    del made.headers["content-length"]
    return made


async def _pieces(body: bytes | AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    """A long answer is sent bit by bit, so that a client that takes none of it is noticed."""
    if isinstance(body, bytes):
        for start in range(0, len(body), PIECE):
            yield body[start : start + PIECE]
    else:
        async with aclosing(body):
            async for piece in body:
                yield piece


def _patient(app: Application, seconds: float) -> Application:
    """The application with a limit to how long one piece of an answer may take to be sent."""

    async def guarded(scope: Any, receive: Any, send: Any) -> None:
        async def sending(message: Any) -> None:
            async with asyncio.timeout(seconds):
                await send(message)
            # The server drops in silence what is sent to whoever is gone.
            if scope["state"][LOST]():
                raise HungUpError

        try:
            await app(scope, receive, sending)
        except (TimeoutError, HungUpError):
            scope["state"][HANG_UP]()

    return guarded
