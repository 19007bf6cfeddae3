"""Listens, and lets requests end before the process does: the only file that knows the web server, an optional extra.

It knows sockets, signals and time; what is answered is the application's business.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from annotations.errors import ConfigError

Application = Callable[[Any, Any, Any], Awaitable[None]]
HANG_UP, LOST = "hang_up", "lost"
"""What a request's scope calls, in its `state`, what ends its connection at once, and what says whether it has ended."""
SENT_BYTES = 1 << 16
"""What the system keeps for a client that reads slowly (Linux keeps twice as much). By itself it would keep megabytes, which
take such a client minutes, and take nothing more of ours meanwhile, as if nothing were read."""
AT_ONCE = struct.pack("ii", 1, 0)
LINGER_SECONDS = 0.5
"""Clients that come while the service ends are told so for at least this long."""


def serve(
    app: Application,
    *,
    host: str,
    port: int,
    say: Callable[[str], None],
    drain_seconds: float,
    **more: Any,
) -> None:
    """Answer until SIGTERM or Ctrl-C; requests under way end first, for at most `drain_seconds`.

    Port 0 takes a free one; the address is told once requests are taken. `more` is for `server`.

    Raises:
        ConfigError: the address cannot be listened on.
        KeyboardInterrupt: after Ctrl-C.
    """
    with listener(host, port) as found:
        say(f"Listening on http://{host}:{found.getsockname()[1]}")
        running = server(app, drain_seconds=drain_seconds, **more)
        running.run(sockets=[found])
    if running.interrupted:
        raise KeyboardInterrupt


def listener(host: str, port: int) -> socket.socket:
    """A listening socket; raises ConfigError where there can be none."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise ConfigError(f"{host}:{port}", f"cannot be listened on ({error.strerror}); set another port=…") from error


def server(
    app: Application,
    *,
    drain_seconds: float,
    head_seconds: float = 30,
    keep_alive_seconds: float = 5,
    write_seconds: float = 30,
    connections: int | None = None,
    leaving: Callable[[], Awaitable[None]] | None = None,
    on_signal: Mapping[signal.Signals, Callable[[], None]] | None = None,
) -> Any:
    """A server that runs an application.

    A connection that does not bring the whole head of a request within `head_seconds` is closed; one whose client does not
    take the last of its answer is given up `write_seconds` after it was closed. `leaving` is awaited
    when the end is asked for, before new requests are refused at the door; `on_signal` runs in the event loop.
    """
    import uvicorn

    config = uvicorn.Config(
        app,
        http=_protocol(head_seconds, write_seconds, connections),
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=keep_alive_seconds,  # type: ignore[arg-type]
        timeout_graceful_shutdown=drain_seconds,  # type: ignore[arg-type]
    )
    made = _server()(config)
    made.drain_seconds, made.leaving, made.on_signal = drain_seconds, leaving, dict(on_signal or {})
    return made


def _server() -> Any:
    """uvicorn's server, which ends in two steps: whoever comes while requests are under way still gets an answer."""
    import uvicorn

    class Server(uvicorn.Server):
        drain_seconds = 0.0
        leaving: Callable[[], Awaitable[None]] | None = None
        on_signal: Mapping[signal.Signals, Callable[[], None]] = {}
        interrupted = False
        _loop: asyncio.AbstractEventLoop | None = None
        _ending: asyncio.Task[None] | None = None

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            self._loop = asyncio.get_running_loop()
            for number, act in self.on_signal.items():
                self._loop.add_signal_handler(number, act)
            await super().startup(sockets)

        def handle_exit(self, sig: int, frame: Any) -> None:
            again, self.interrupted = self.interrupted, self.interrupted or sig == signal.SIGINT
            if self.leaving is None or self._loop is None:
                self.should_exit = True
            elif again and sig == signal.SIGINT:
                self.should_exit = self.force_exit = True
            else:
                self._loop.call_soon_threadsafe(self._begin_end)

        def _begin_end(self) -> None:
            self._ending = self._ending or asyncio.ensure_future(self._end())

        async def _end(self) -> None:
            assert self.leaving is not None
            try:
                await self.leaving()
                under_way = set(self.server_state.tasks)
                await asyncio.sleep(LINGER_SECONDS)
                if under_way:
                    await asyncio.wait(under_way, timeout=self.drain_seconds)
            finally:
                self.should_exit = True

    return Server


def _ending(write_seconds: float) -> Any:
    """uvicorn's HTTP/1.1, which ends connections for good: a client that takes nothing of its answer is not waited for."""
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Ending(H11Protocol):
        _end: asyncio.TimerHandle | None = None
        _lost = False

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            link = transport.get_extra_info("socket")
            link.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SENT_BYTES)
            # asyncio does so only for listeners that name their protocol. Without it, the body of an answer waits until the
            # client's system owns to having got the head, which on Linux takes it 40 ms.
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.app_state = {**self.app_state, HANG_UP: self._hang_up, LOST: lambda: self._lost}

        def connection_lost(self, exc: Exception | None) -> None:
            self._lost = True
            if self._end is not None:
                self._end.cancel()
            super().connection_lost(exc)

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self.close_for_good()

        def timeout_keep_alive_handler(self) -> None:
            super().timeout_keep_alive_handler()
            self.close_for_good()

        def close_for_good(self) -> None:
            """A closed connection would wait until all is sent."""
            if self.transport.is_closing() and self._end is None:
                self._end = self.loop.call_later(write_seconds, self._hang_up)

        def _hang_up(self) -> None:
            """At once: without lingering, the system too forgets what was not taken."""
            if not self._lost:
                self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
                self.transport.abort()

    return Ending


def _protocol(head_seconds: float, write_seconds: float, most: int | None) -> Any:
    """uvicorn's HTTP/1.1 with what else it lacks: a deadline for the head of a request, and problem details."""
    import h11

    class Patient(_ending(write_seconds)):  # type: ignore[misc]
        _head: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if most is not None and len(self.connections) > most:
                self._refuse(503, "Service Unavailable", "there are too many connections; try again later")
            self._wait()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._wait()

        def connection_lost(self, exc: Exception | None) -> None:
            if self._head is not None:
                self._head.cancel()
            super().connection_lost(exc)

        def _wait(self) -> None:
            """Under way: no deadline of ours. Between requests: uvicorn's. Else something is begun and not finished."""
            under_way = self.cycle is not None and not self.cycle.response_complete
            between = self.cycle is not None and self.conn.their_state is h11.IDLE and not self.conn.trailing_data[0]
            if self._head is not None and (under_way or between):
                self._head.cancel()
                self._head = None
            if under_way or self.transport.is_closing():
                return
            if between:
                # After the rest of a body that was refused, uvicorn would wait for ever.
                self._unset_keepalive_if_required()
                self.timeout_keep_alive_task = self.loop.call_later(
                    self.timeout_keep_alive, self.timeout_keep_alive_handler
                )
            elif self._head is None:
                self._head = self.loop.call_later(head_seconds, self._too_late)

        def _too_late(self) -> None:
            self._refuse(408, "Request Timeout", f"the head of a request took longer than {head_seconds:g} s")

        def send_400_response(self, msg: str) -> None:
            self._refuse(400, "Bad Request", "this is no HTTP/1.1 request")

        def _refuse(self, status: int, phrase: str, detail: str) -> None:
            if not self.transport.is_closing():
                self.transport.write(_problem(status, phrase, detail))
                self.transport.close()
                self.close_for_good()

    return Patient


def _problem(status: int, phrase: str, detail: str) -> bytes:
    """A whole answer for a connection on which there is no request to answer."""
    body = f'{{"type": "about:blank", "title": "{phrase}", "status": {status}, "detail": "{detail}"}}'.encode()
    again = "Retry-After: 1\r\n" if status == 503 else ""
    head = f"HTTP/1.1 {status} {phrase}\r\nContent-Type: application/problem+json\r\n{again}"
    return f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body
