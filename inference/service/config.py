"""The settings of `standpoint serve CHECKPOINT`. It knows names, types and defaults, and does nothing with them."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from annotations.config import Config


class Limits(Config):
    """How much one request, and all of them together, may bring."""

    body_mb: int = Field(default=16, ge=1)
    """Longest JSON body, in megabytes; an NDJSON stream may be of any length."""
    bodies_mb: int = Field(default=256, ge=1)
    """All bodies and lines of streams that are being read or worked on, in megabytes; beyond that, requests are answered 429."""
    documents: int = Field(default=1000, ge=1)
    """Most documents in one JSON body."""
    characters: int = Field(default=500_000, ge=1)
    """Longest text, in code points; a longer one is refused, never cut."""
    target_characters: int = Field(default=10_000, ge=1)
    """Longest target, in code points; how many tokens of it are read is the model's own limit."""
    queue_characters: int = Field(default=1_000_000, ge=1)
    """Texts and targets that wait or are worked on, in code points; beyond that, requests are answered 429."""
    connections: int = Field(default=1000, ge=1)
    """Most open connections."""
    stream_documents: int = Field(default=64, ge=1)
    """Documents of one stream that are worked on at once."""
    stream_mb: int = Field(default=8, ge=1)
    """Answers that wait for a stream's client to read them, in megabytes; beyond that, no more of it is read."""

    @model_validator(mode="after")
    def _room(self) -> Self:
        if self.characters > self.queue_characters:
            raise ValueError(f"queue_characters={self.queue_characters} holds no text of {self.characters} characters")
        if self.body_mb > self.bodies_mb:
            raise ValueError(f"bodies_mb={self.bodies_mb} holds no body of {self.body_mb} MB")
        return self


class Timeouts(Config):
    """How long the service waits for others, in seconds."""

    head: float = Field(default=10, gt=0)
    """For the head of a request, from its first byte (or the connection's beginning) on."""
    body: float = Field(default=30, gt=0)
    """For a whole JSON body; in a stream, for each line."""
    answer: float = Field(default=60, gt=0)
    """For the model to answer a request (in a stream: a document) that has been read."""
    write: float = Field(default=30, gt=0)
    """For the client to take a piece of the answer, about 200 kB; whoever reads more slowly is hung up on."""
    keep_alive: float = Field(default=15, gt=0)
    """For the next request on an idle connection."""
    drain_delay: float = Field(default=0, ge=0)
    """After SIGTERM, how long requests are still taken while /readyz says 503 (load balancers need time to notice)."""
    drain: float = Field(default=90, gt=0)
    """After that, how long requests under way may take to end."""


class Batching(Config):
    """How documents of different requests share the model."""

    tokens: int = Field(default=4096, ge=16)
    """Tokens of documents that are tagged together; longer documents go alone, in between."""
    wait_ms: float = Field(default=2, ge=0)
    """How long a document waits for others while the model is idle, in milliseconds."""
    encoders: int = Field(default=2, ge=1)
    """Threads that turn texts into tokens."""


class ServiceConfig(Config):
    """What a service listens on, and its bounds."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = Field(default=8080, ge=0, le=65535)
    """Port to listen on; 0 takes a free one."""
    engine: str = "auto"
    """What runs the encoder; by default the fastest that is there."""
    engine_workers: int = Field(default=0, ge=0)
    """Processes that tag, which share the cores; with 0 the service's own process does."""
    tokens_file: Path | None = None
    """File of bearer tokens, one a line; STANDPOINT_TOKENS holds them otherwise. Without any, everybody is answered."""
    admin_tokens_file: Path | None = None
    """The same for reload and rollback; STANDPOINT_ADMIN_TOKENS otherwise. Without any, these are closed over HTTP."""
    limits: Limits = Limits()
    """How much."""
    timeouts: Timeouts = Timeouts()
    """How long."""
    batching: Batching = Batching()
    """How together."""
    log_requests: bool = False
    """One line for each request on standard error: path, status, time, documents; never a text."""
