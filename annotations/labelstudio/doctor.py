"""Looks at everything between here and a Label Studio server that can be wrong. It changes nothing on the server."""

from __future__ import annotations

import base64
import binascii
import datetime
import email.utils
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx

from annotations.errors import ServerError
from annotations.labelstudio.server import Server
from annotations.labelstudio.shapes import interface_differences
from annotations.schema import Schema

TESTED = "1.23"
CLOCK_SECONDS = 60.0
PATIENCE = 10.0


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `remedy` says what to do where it did not pass."""

    what: str
    passed: bool
    told: str
    remedy: str = ""

    def __str__(self) -> str:
        line = f"{'ok  ' if self.passed else 'FAIL'}  {self.what}: {self.told}"
        return line if self.passed else f"{line}\n      {self.remedy}"


def examine(
    url: str, token: str, schema: Schema, *, project: int | None = None, backend: str | None = None
) -> list[Finding]:
    """Every finding, in the order in which one thing depends on the other; what cannot be looked at is not listed."""
    return list(_findings(url, token, schema, project, backend))


def _findings(url: str, token: str, schema: Schema, project: int | None, backend: str | None) -> Iterator[Finding]:
    base = url.rstrip("/") + "/"
    if backend:
        yield _backend(backend)
    answer = _get(base + "health")
    if isinstance(answer, str) or not answer.is_success:
        told = answer if isinstance(answer, str) else f"HTTP {answer.status_code}"
        yield Finding("server", False, f"{base} does not answer ({told})", "start it, or give its address with --url")
        return
    yield Finding("server", True, f"{base} answers")
    yield _clock(answer)
    yield _token_kind(token)
    try:
        server = Server(base, token)
        user = server.whoami()
    except ServerError as error:
        yield Finding("login", False, str(error), "set LABEL_STUDIO_API_KEY to a token of this server")
        return
    yield Finding("login", True, f"the token belongs to {user['email']} (user {user['id']})")
    yield _release(server)
    yield _permissions(server)
    if project is not None:
        yield from _project(server, project, schema)


def _get(url: str) -> httpx.Response | str:
    try:
        return httpx.get(url, timeout=PATIENCE, follow_redirects=True)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return str(error) or type(error).__name__


def _clock(answer: httpx.Response) -> Finding:
    """A token is dated: a clock that runs ahead or behind makes it look expired."""
    stamp = answer.headers.get("date")
    if not stamp:
        return Finding("clock", True, "the server tells no time")
    try:
        ahead = time.time() - email.utils.parsedate_to_datetime(stamp).timestamp()
    except ValueError:
        return Finding("clock", True, f"the server tells no time that can be read ({stamp})")
    told = f"this machine and the server differ by {abs(ahead):.0f} s"
    return Finding("clock", abs(ahead) < CLOCK_SECONDS, told, "set both clocks (NTP): tokens are valid by the clock")


def _token_kind(token: str) -> Finding:
    token = token.strip()
    if not token:
        return Finding(
            "token", False, "none is set", "set LABEL_STUDIO_API_KEY to a personal access token (Account & Settings)"
        )
    claims = _claims(token)
    if claims is None:
        return Finding("token", True, "a legacy token; works only where the organisation allows legacy tokens")
    until = claims.get("exp")
    try:
        day = datetime.datetime.fromtimestamp(until, datetime.UTC).date()  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError, OSError):
        return Finding("token", True, "a personal access token that does not expire")
    passed = float(until) > time.time()  # type: ignore[arg-type]
    return Finding("token", passed, f"a personal access token, valid until {day}", "make a new one")


def _claims(token: str) -> dict[str, Any] | None:
    """What a JSON web token (RFC 7519) says about itself; None where it is none."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        found = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, binascii.Error):
        return None
    return found if isinstance(found, dict) else None


def _release(server: Server) -> Finding:
    try:
        release = server.release()
    except ServerError as error:
        return Finding("version", False, str(error), "update Label Studio")
    told = f"Label Studio {release}" + ("" if release.startswith(TESTED) else f" (tested with {TESTED})")
    return Finding("version", True, told)


def _permissions(server: Server) -> Finding:
    try:
        projects = server.projects()
    except ServerError as error:
        return Finding("permissions", False, str(error), "ask an administrator to let this user see projects")
    return Finding("permissions", True, f"{len(projects)} projects can be seen")


def _project(server: Server, project: int, schema: Schema) -> Iterator[Finding]:
    try:
        found = server.project(project)
    except ServerError as error:
        yield Finding("project", False, str(error), "give another --project, or the token of a member")
        return
    yield Finding("project", True, f"{project} is {found['title']!r} with {found['tasks']} tasks")
    differences = interface_differences(found["label_config"], schema)
    told = "; ".join(differences) or "asks for what the schema declares"
    remedy = "change the schema, or replace it: standpoint labels push --project … --update-interface"
    yield Finding("interface", not differences, told, remedy)
    yield from _connections(server, project)


def _connections(server: Server, project: int) -> Iterator[Finding]:
    try:
        backends = server.backends(project)
    except ServerError as error:
        yield Finding(
            "model backend", False, str(error), "ask an administrator to let this user see the project's settings"
        )
        return
    for backend in backends:
        passed = backend["state"] == "CO"
        told = f"{backend['url']} is {'connected' if passed else 'not connected'}"
        reason = f" ({backend['error']})" if backend["error"] and not passed else ""
        remedy = (
            "is `standpoint serve --label-studio` running? For an address on the server's own machine or network, start "
            "Label Studio with ML_BLOCK_LOCAL_IP=false and SSRF_PROTECTION_ENABLED=false"
        )
        yield Finding("model backend", passed, told + reason, remedy)


def _backend(url: str) -> Finding:
    answer = _get(url.rstrip("/") + "/health")
    if isinstance(answer, str):
        return Finding("backend", False, f"{url} does not answer ({answer})", "start standpoint serve --label-studio")
    try:
        told = answer.json()
    except ValueError:
        told = None
    # Label Studio's own /health says UP as well; a backend names its model besides.
    passed = isinstance(told, dict) and told.get("status") == "UP" and "model_class" in told
    return Finding("backend", passed, f"{url} says {told}", "this is no model backend; is the port right?")
