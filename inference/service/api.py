"""The service's paths: who may ask, what comes in, which answer or problem goes out. It knows no framework.

A text is never logged, nor is an unforeseen error's message, which may quote one; where it arose is.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from annotations.errors import StandpointError
from inference.model_store import NoEarlierError
from inference.service.access import Access
from inference.service.config import ServiceConfig
from inference.service.intake import Intake
from inference.service.messages import DocumentIn, ManyRequest, ModelState, Offsets, OneRequest, Options
from inference.service.metrics import CONTENT_TYPE, Metrics
from inference.service.models import BusyError, Loaded, Models
from inference.service.openapi import description
from inference.service.page import Page, fragment
from inference.service.problems import Json, Kind, Problem, check_keys, invalid
from inference.service.reading import MEGABYTE, Body, parse
from inference.service.streams import Stream, lines
from inference.service.tagging import Tagging, item_error, size
from inference.service.workers import ElsewhereError
from inference.web import Answer, Call, Endpoint, HungUpError, failure

JSON, NDJSON, HTML, PROBLEM = "application/json", "application/x-ndjson", "text/html", "application/problem+json"
STREAMED = (NDJSON, "application/ndjson", "application/jsonl")
QUIET = ("/healthz", "/readyz", "/metrics")
Handler = Callable[[Call], Awaitable[Answer]]
Say = Callable[[str], None]
SMALL = 10_000
"""Bytes of a body or line that is read at once, without a thread."""
DISCARD_SECONDS = 1
"""While the service ends, it waits so long for the rest of a request that it refuses."""
T = TypeVar("T")


@dataclass
class State:
    """Whether the service takes requests."""

    ready: bool = True
    """What /readyz says."""
    draining: bool = False
    """Whether new requests are refused."""


class Api:
    """Everything that can be asked of the service."""

    def __init__(self, config: ServiceConfig, models: Models, access: Access, metrics: Metrics, say: Say) -> None:
        limits = config.limits
        self.config, self.models, self.access, self.metrics, self.say = config, models, access, metrics, say
        self.state = State()
        self.intake = Intake(limits.queue_characters, limits.bodies_mb * MEGABYTE)
        self.tagging = Tagging(config, self.intake, metrics)
        self._page = Page()
        self._description = json.dumps(description()).encode()
        metrics.watch("queue_documents", "Documents let in and not yet answered", lambda: self.intake.documents)
        metrics.watch("queue_characters", "Their code points", lambda: self.intake.held)
        metrics.watch("batch_waiting", "Documents that wait for the model", lambda: self.models.current.work.waiting)
        metrics.watch("workers", "Processes that tag", lambda: self.models.current.work.processes)
        metrics.watch("body_bytes", "Bodies that are held", lambda: self.intake.body_bytes)
        metrics.watch("ready", "Whether requests are taken", lambda: self.state.ready)
        self._tell_model()

    def endpoints(self) -> list[Endpoint]:
        """Method, path and handler of each."""
        table: list[tuple[str, str, Handler]] = [
            ("POST", "/v1/tag", self.tag),
            ("GET", "/v1/model", self.model),
            ("POST", "/v1/admin/reload", self.reload),
            ("POST", "/v1/admin/rollback", self.rollback),
            ("GET", "/healthz", self.health),
            ("GET", "/readyz", self.readiness),
            ("GET", "/metrics", self.measured),
            ("GET", "/openapi.json", self.openapi),
            ("GET", "/", self.page),
        ]
        return [Endpoint(method, path, self._answered(path, handle)) for method, path, handle in table]

    async def tag(self, call: Call) -> Answer:
        """One document, some, or a stream of them."""
        self.access.user(call.header("authorization"))
        if self.state.draining:
            raise Problem(Kind.DRAINING, "this process ends; ask again, another one will answer", retry_after=1)
        options = _options(call.query)
        if call.content_type in STREAMED:
            return self._stream(call, options)
        if call.content_type != JSON:
            raise Problem(Kind.UNSUPPORTED, f"send Content-Type: {JSON} or {NDJSON}")
        self.intake.check()
        body = Body(self.intake)
        try:
            limits, seconds = self.config.limits, self.config.timeouts.body
            raw = await body.read(call, most=limits.body_mb * MEGABYTE, seconds=seconds)
            return await _unless_gone(call, self._tag(call, raw, options))
        finally:
            body.let_go()

    async def model(self, call: Call) -> Answer:
        """Which model answers."""
        self.access.user(call.header("authorization"))
        return self._model_state()

    async def reload(self, call: Call) -> Answer:
        """Take what the checkpoint folder or the store holds now."""
        self.access.admin(call.header("authorization"))
        return await self.change(self.models.reload)

    async def rollback(self, call: Call) -> Answer:
        """Go back to the model before."""
        self.access.admin(call.header("authorization"))
        return await self.change(self.models.rollback)

    async def change(self, how: Callable[[], Loaded]) -> Answer:
        """Change the model in a thread; raises Problem, and says why, where the old one goes on."""
        before = self.models.current
        try:
            now = await asyncio.to_thread(how)
        except BusyError as error:
            raise Problem(Kind.BUSY_RELOADING, str(error), retry_after=5) from None
        except Exception as error:
            known = isinstance(error, StandpointError)
            kind = Kind.NO_EARLIER if isinstance(error, NoEarlierError) else Kind.UNUSABLE
            told = f"version {before.version} goes on: {error if known else failure(error)}"
            self.metrics.reloaded("failed")
            self.say(told)
            raise Problem(kind if known else Kind.INTERNAL, told) from None
        self.metrics.reloaded("same" if now is before else "changed")
        self._tell_model()
        return self._model_state()

    async def health(self, _: Call) -> Answer:
        """Whether the process can do its work at all."""
        alive = self.models.current.work.alive
        return _json(200 if alive else 503, {"status": "ok" if alive else "what tags has died"})

    async def readiness(self, _: Call) -> Answer:
        """Whether requests should be sent here."""
        return _json(200 if self.state.ready else 503, {"status": "ready" if self.state.ready else "draining"})

    async def measured(self, _: Call) -> Answer:
        """Prometheus' text format."""
        return Answer(200, self.metrics.text(), CONTENT_TYPE)

    async def openapi(self, _: Call) -> Answer:
        """The description of all this."""
        return Answer(200, self._description)

    async def page(self, _: Call) -> Answer:
        """A page to try it."""
        body, policy = self._page.html(self.models.current, needs_token=not self.access.open)
        return Answer(200, body, "text/html; charset=utf-8", {"Content-Security-Policy": policy})

    async def leave(self) -> None:
        """Say that no more requests should come, then refuse them."""
        self.state.ready = False
        self.say("ending: requests under way are answered")
        await asyncio.sleep(self.config.timeouts.drain_delay)
        self.state.draining = True

    async def _tag(self, call: Call, raw: bytes, options: Options) -> Answer:
        value = await _parsed(raw, "the body", self.config.limits.documents)
        if not isinstance(value, dict):
            raise Problem(Kind.MALFORMED, f"the body is a JSON {type(value).__name__}, not an object")
        check_keys(value)
        value = _with_options(value, options)
        model = self.models.current
        try:
            if "documents" in value:
                return await self._many(ManyRequest.model_validate(value), model)
            one = OneRequest.model_validate(value)
        except ValidationError as error:
            raise invalid(error, ManyRequest if "documents" in value else OneRequest) from None
        item = DocumentIn(id=one.id, text=one.text, target=one.target)
        item = self.tagging.allowed(item, one, model.work.schema)
        self.intake.check(size(item))
        page = _page_wanted(call.header("accept") or "")
        offsets = Offsets.CODE_POINTS if page else one.offsets
        found = await self._in_time(self.tagging.tag(item, model, offsets, self.intake.take(size(item))))
        if page:
            return Answer(200, fragment(item, found.body, model.work.schema), "text/html; charset=utf-8")
        return Answer(200, found.body)

    async def _many(self, request: ManyRequest, model: Loaded) -> Answer:
        if len(request.documents) > (most := self.config.limits.documents):
            raise Problem(
                Kind.TOO_LARGE, f"{len(request.documents)} documents, at most {most} at once; send a stream of NDJSON"
            )
        # What is wrong with many documents takes a while to say.
        checked = await asyncio.to_thread(lambda: [self._checked(item, request, model) for item in request.documents])
        self.intake.check(sum(size(item) for item in checked if isinstance(item, DocumentIn)))
        found = await self._in_time(asyncio.gather(*(self._item(item, request, model) for item in checked)))
        documents = [
            _dump(item_error(item, one)) if isinstance(one, Problem) else one
            for item, one in zip(request.documents, found, strict=True)
        ]
        # As a ManyAnswer would be written, of pieces that are written already.
        return Answer(200, b'{"documents":[' + b",".join(documents) + b"]}")

    def _checked(self, item: Any, request: ManyRequest, model: Loaded) -> DocumentIn | Problem:
        try:
            return self.tagging.checked(item, request, model.work.schema, request.target)
        except Problem as problem:
            return self._counted(problem)

    async def _item(self, item: DocumentIn | Problem, options: Options, model: Loaded) -> bytes | Problem:
        """A document's answer, or what is wrong with it alone."""
        if isinstance(item, Problem):
            return item
        try:
            return (await self.tagging.tag(item, model, options.offsets, self.intake.take(size(item)))).body
        except Problem as problem:
            return self._counted(problem)
        except Exception as error:
            return self._counted(self._unforeseen("/v1/tag", error))

    def _stream(self, call: Call, options: Options) -> Answer:
        self.intake.check()
        limits, timeouts = self.config.limits, self.config.timeouts
        # In JSON a character may be written with up to twelve bytes, \\ud83d\\ude42.
        longest = 12 * (limits.characters + limits.target_characters + 1000) + 10_000
        # More than half of what may be held would find no room beside what comes after it.
        longest = min(longest, limits.bodies_mb * MEGABYTE // 2)
        found = lines(call.chunks(), self.intake, longest=longest, seconds=timeouts.body)

        async def line(number: int, raw: bytes) -> bytes:
            return await self._line(number, raw, options) + b"\n"

        stream = Stream(line, self.intake, at_once=limits.stream_documents, most_bytes=limits.stream_mb * MEGABYTE)
        return Answer(200, stream.run(found), NDJSON)

    async def _line(self, number: int, raw: bytes, options: Options) -> bytes:
        """The answer to a line of a stream, which waits for room and may get another model than the line before."""
        value: Any = None
        model = self.models.current
        try:
            value = await _parsed(raw, f"line {number}")
            item = self.tagging.checked(value, options, model.work.schema)
            cost = await self.intake.wait(size(item))
            return (await self._in_time(self.tagging.tag(item, model, options.offsets, cost))).body
        except Problem as problem:
            return _dump(item_error(value, self._counted(problem)))
        except Exception as error:
            return _dump(item_error(value, self._counted(self._unforeseen("/v1/tag", error))))

    async def _in_time(self, work: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(self.config.timeouts.answer):
                return await work
        except TimeoutError:
            seconds = self.config.timeouts.answer
            raise Problem(Kind.LATE, f"the model took longer than {seconds:g} s; send less", retry_after=10) from None

    def _counted(self, problem: Problem) -> Problem:
        self.metrics.document(problem.kind.name.lower())
        return problem

    def _answered(self, path: str, handle: Handler) -> Handler:
        """The handler with its problems as answers, counted and timed to the last byte."""

        async def handled(call: Call) -> Answer:
            began = time.monotonic()
            try:
                found = await handle(call)
            except Problem as problem:
                if self.state.draining:
                    await call.discard(DISCARD_SECONDS)
                found = problem_answer(problem, closing=self.state.draining)
            except HungUpError:
                self._done(call, path, 499, began)
                raise
            except Exception as error:
                found = problem_answer(self._unforeseen(path, error))
            if isinstance(found.body, bytes):
                self._done(call, path, found.status, began)
                return found
            return found._replace(body=self._watched(call, path, found.body, began))

        return handled

    async def _watched(self, call: Call, path: str, body: AsyncGenerator[bytes], began: float) -> AsyncGenerator[bytes]:
        status = 499
        try:
            async with aclosing(body):
                async for piece in body:
                    yield piece
            status = 200
        finally:
            self._done(call, path, status, began)

    def _done(self, call: Call, path: str, status: int, began: float) -> None:
        seconds = time.monotonic() - began
        self.metrics.answered(path, status, seconds)
        if self.config.log_requests and path not in QUIET:
            self.say(f"{call.method} {path} {status} {1000 * seconds:.0f} ms")

    def _unforeseen(self, path: str, error: Exception) -> Problem:
        name, told = (
            (error.name, error.told) if isinstance(error, ElsewhereError) else (type(error).__name__, failure(error))
        )
        self.say(f"{path}: {told}")
        return Problem(Kind.INTERNAL, f"internal error: {name}")

    def _model_state(self) -> Answer:
        now, earlier = self.models.current, self.models.earlier
        return _json(
            200,
            ModelState(
                version=now.version,
                engine=now.work.engine,
                loaded=now.loaded,
                earlier=earlier.version if earlier else None,
            ),
        )

    def _tell_model(self) -> None:
        now = self.models.current
        self.metrics.model(now.version, now.work.engine)


def problem_answer(problem: Problem, *, closing: bool = False) -> Answer:
    """A problem as an answer of its own."""
    headers = problem.headers() | ({"Connection": "close"} if closing else {})
    return Answer(problem.kind.status, json.dumps(problem.body()).encode(), PROBLEM, headers)


def other_answer(status: int, headers: Mapping[str, str]) -> Answer:
    """What is said where there is no endpoint."""
    kind = Kind.METHOD_NOT_ALLOWED if status == 405 else Kind.NOT_FOUND
    problem = Problem(kind, "see /openapi.json for what there is")
    return problem_answer(problem)._replace(headers=dict(headers))


async def _parsed(raw: bytes, what: str, documents: int = 1) -> Any:
    if len(raw) < SMALL:
        return parse(raw, what, documents)
    return await asyncio.to_thread(parse, raw, what, documents)


def _options(query: Mapping[str, str]) -> Options:
    """The options of a query; raises Problem for unknown ones."""
    values: Json = dict(query)
    check_keys(values)
    if (strict := values.get("strict")) in ("true", "false"):
        values["strict"] = strict == "true"
    try:
        return Options.model_validate(values)
    except ValidationError as error:
        raise invalid(error, Options) from None


def _with_options(body: Json, options: Options) -> Json:
    """A body with the query's options; raises Problem where it says otherwise itself."""
    given = options.model_dump(mode="json", exclude_unset=True)
    if both := [name for name, value in given.items() if name in body and body[name] != value]:
        detail = f"{both[0]} is one thing in the query and another in the body; say it once"
        raise Problem(Kind.INVALID, detail, errors=[{"pointer": f"/{both[0]}", "detail": detail}])
    return {**given, **body}


def _page_wanted(accept: str) -> bool:
    """Whether a client asks for a piece of a page, and would not take JSON as well."""
    taken = [part.partition(";")[0].strip().lower() for part in accept.split(",")]
    return taken[0] == HTML and JSON not in taken and "*/*" not in taken


async def _unless_gone(call: Call, work: Coroutine[Any, Any, Answer]) -> Answer:
    """The work's answer; the work is given up where the client hangs up before."""
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(call.gone())
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise HungUpError
    finally:
        task.cancel()
        gone.cancel()


def _json(status: int, value: BaseModel | Json) -> Answer:
    return Answer(status, _dump(value))


def _dump(value: BaseModel | Json) -> bytes:
    return value.model_dump_json().encode() if isinstance(value, BaseModel) else json.dumps(value).encode()
