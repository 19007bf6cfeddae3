"""Runs a Label Studio server of our own on this machine, with its users and their tokens, and stops it again.

It knows the server's command line and its login pages. What is done through the API is `server`'s business.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from annotations.errors import ServerError

HOST = "127.0.0.1"
ADMIN = "admin@example.org"
START_SECONDS = 240.0
STOP_SECONDS = 10.0
DATABASE = "label_studio.sqlite3"
EMPTY = Path("empty", DATABASE)
"""Below the server's virtual environment, where `make label-studio` leaves the database of a server without users."""


class LocalServer:
    """A server that listens on this machine only, for the length of a `with` block; it calls nobody outside.

    Everything it writes, its log and the administrator's password included, is below `data_dir`; a later server on the
    same `data_dir` has the same projects and users.
    """

    def __init__(self, executable: Path, data_dir: Path) -> None:
        self.executable, self.data_dir = Path(executable).absolute(), Path(data_dir).absolute()
        self.log = self.data_dir / "server.log"
        self.url = ""
        """Set once it runs."""
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start the server and wait until it is ready.

        A first start copies the empty database from beside the server; where there is none it is built, which takes a minute.

        Raises:
            ServerError: it cannot be run, ends at once, or is not ready in time; with the end of its log.
        """
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self._begin_database()
        port = _free_port()
        self.url = f"http://{HOST}:{port}"
        command = [str(self.executable), "start", "--no-browser", "--internal-host", HOST, "--port", str(port)]
        try:
            with self.log.open("wb") as log:
                self._process = subprocess.Popen(
                    command,
                    env=self._environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
        except OSError as error:
            raise ServerError(
                f"{self.executable} cannot be run ({error.strerror}); install the server first"
            ) from error
        try:
            self._wait(self._process)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End the server and whatever it started; nothing happens where it has ended."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    @property
    def password(self) -> str:
        """The administrator's password, made at the first start."""
        path = self.data_dir / "password"
        if not path.exists():
            path.touch(mode=0o600)
            path.write_text(secrets.token_urlsafe(16), "utf-8")
        return path.read_text("utf-8")

    def token(self, email: str = ADMIN, password: str | None = None) -> str:
        """A new personal access token of a user, the administrator by default; it takes the place of an earlier one.

        Raises:
            ServerError: the email or password is refused.
        """
        with self._session() as session:
            self._log_in(session, email, self.password if password is None else password)
            # The server allows each user one token, and shows it in full only when it makes it.
            for earlier in session.get("/api/token/").raise_for_status().json():
                _post(session, "/api/token/blacklist/", {"refresh": earlier["token"]})
            answer = _post(session, "/api/token/", {})
        if answer.status_code != httpx.codes.CREATED:
            raise ServerError(f"{self.url}: no token for {email} (HTTP {answer.status_code}); see {self.log}")
        return str(answer.json()["token"])

    def add_user(self, email: str, password: str) -> None:
        """Sign up a user of the same organisation, through the administrator's invitation link.

        Raises:
            ServerError: the email is taken, or the password is too short.
        """
        with self._session() as session:
            self._log_in(session, ADMIN, self.password)
            invitation = session.get("/api/invite").json()["invite_url"]
        with self._session() as session:
            session.get(invitation)
            answer = _post(session, invitation, {"email": email, "password": password})
        if not answer.is_redirect:
            raise ServerError(
                f"{self.url}: {email} could not sign up (HTTP {answer.status_code}); "
                "the email must be new, the password 8 to 128 characters long"
            )

    def _begin_database(self) -> None:
        empty, own = self.executable.parent.parent / EMPTY, self.data_dir / DATABASE
        if empty.exists() and not own.exists():
            part = own.with_name(f".{DATABASE}.part")
            shutil.copyfile(empty, part)
            part.replace(own)

    def _environment(self) -> dict[str, str]:
        """Only what is named here, so that no setting or token of the caller reaches the server."""
        return {
            "PATH": os.defpath,
            "HOME": str(self.data_dir),
            "LANG": "C.UTF-8",
            "LABEL_STUDIO_BASE_DATA_DIR": str(self.data_dir),
            "LABEL_STUDIO_USERNAME": ADMIN,
            "LABEL_STUDIO_PASSWORD": self.password,
            "LABEL_STUDIO_DISABLE_SIGNUP_WITHOUT_LINK": "true",
            "COLLECT_ANALYTICS": "false",
            "LATEST_VERSION_CHECK": "false",
            "SENTRY_DSN": "",
            "FRONTEND_SENTRY_DSN": "",
            # A model backend on this machine may be connected.
            "ML_BLOCK_LOCAL_IP": "false",
            "SSRF_PROTECTION_ENABLED": "false",
        }

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_SECONDS
        with self._session() as session:
            while process.poll() is None and time.monotonic() < deadline:
                try:
                    if session.get("/health").is_success:
                        return
                except httpx.TransportError:
                    pass
                time.sleep(0.2)
        state = "is not ready" if process.poll() is None else f"ended with status {process.returncode}"
        tail = "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-15:])
        raise ServerError(f"the server {state}; the end of {self.log}:\n{tail}")

    @contextmanager
    def _session(self) -> Iterator[httpx.Client]:
        with httpx.Client(base_url=self.url, trust_env=False, timeout=60) as session:
            yield session

    def _log_in(self, session: httpx.Client, email: str, password: str) -> None:
        session.get("/user/login/")
        answer = _post(session, "/user/login/", {"email": email, "password": password})
        if not answer.is_redirect:
            raise ServerError(
                f"{self.url}: the email or password of {email} is refused; sign the user up with `add_user`"
            )


def _post(session: httpx.Client, path: str, fields: dict[str, str]) -> httpx.Response:
    """Post a form as a browser would, with the csrf token of the session's cookie."""
    token = session.cookies.get("csrftoken") or ""
    headers = {"Referer": str(session.base_url), "X-CSRFToken": token}
    return session.post(path, data=fields, headers=headers)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
