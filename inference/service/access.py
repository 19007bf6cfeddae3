"""Who may ask: bearer tokens (RFC 6750), compared in constant time. It knows tokens, not what they open."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Iterable
from pathlib import Path

from annotations.errors import ConfigError
from inference.service.problems import Kind, Problem

USERS, ADMINS = "STANDPOINT_TOKENS", "STANDPOINT_ADMIN_TOKENS"
SHORTEST = 16


class Access:
    """Tokens of users and of administrators; an administrator may do what a user may."""

    def __init__(self, users: Iterable[str], admins: Iterable[str]) -> None:
        # Digests have one length, so that a comparison takes the same time for every token.
        self._users = [_digest(token) for token in users]
        self._admins = [_digest(token) for token in admins]

    @property
    def open(self) -> bool:
        """Whether everybody is answered."""
        return not self._users and not self._admins

    def user(self, header: str | None) -> None:
        """Raise Problem unless the `Authorization` header holds a known token, or none is needed."""
        if self._users or self._admins:
            self._known(header, self._users + self._admins)

    def admin(self, header: str | None) -> None:
        """Raise Problem unless the header holds an administrator's token."""
        if not self._admins:
            raise Problem(Kind.FORBIDDEN, f"no administrator's token is set; set {ADMINS}, or send the process SIGHUP")
        self._known(header, self._users + self._admins)
        if not _among(_token(header), self._admins):
            raise Problem(Kind.FORBIDDEN, "reload and rollback need an administrator's token")

    def _known(self, header: str | None, tokens: list[bytes]) -> None:
        if not _among(_token(header), tokens):
            raise Problem(Kind.UNAUTHORIZED, "send `Authorization: Bearer TOKEN` with a token that the service knows")


def read_access(tokens_file: Path | None, admin_tokens_file: Path | None) -> Access:
    """Tokens from files, or from the environment where no file is named; raises ConfigError for unusable ones."""
    users, admins = _read(tokens_file, USERS, "tokens_file"), _read(admin_tokens_file, ADMINS, "admin_tokens_file")
    if set(users) & set(admins):
        raise ConfigError("tokens", "a user's token is an administrator's too; give each their own")
    return Access(users, admins)


def _read(path: Path | None, variable: str, name: str) -> list[str]:
    if path is None:
        found, where = os.environ.get(variable, "").split(), variable
    else:
        where = f"{name} {path}"
        try:
            lines = [line.strip() for line in path.read_text("utf-8").splitlines()]
        except (OSError, ValueError) as error:
            raise ConfigError(where, "cannot be read as UTF-8 text; check the path") from error
        found = [line for line in lines if line and not line.startswith("#")]
        if not found:
            raise ConfigError(where, "holds no token; write one a line, or leave the setting out")
    # The tokens themselves are never shown.
    if [token for token in found if len(token) < SHORTEST or not token.isascii() or " " in token]:
        raise ConfigError(where, f"every token needs {SHORTEST} ASCII characters or more, without spaces")
    return found


def _token(header: str | None) -> bytes:
    scheme, _, token = (header or "").partition(" ")
    return _digest(token.strip()) if scheme.lower() == "bearer" else b""


def _among(digest: bytes, tokens: list[bytes]) -> bool:
    """Every token is compared, so that the time does not tell which one it is."""
    return sum([hmac.compare_digest(digest, token) for token in tokens]) > 0


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
