"""Whether a model hub can be asked at all. It knows addresses, not models."""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

PATIENCE = 10
"""Seconds to wait for the hub, whatever number of addresses it has."""


def reading(where: str) -> dict[str, Any]:
    """How `from_pretrained` is to read a folder or a hub name: of a hub that is out of reach only what was fetched before.

    Asked first, since the hub's own client tries each file of a name for half a minute where there is no network.
    """
    return {} if Path(where).is_dir() or _in_reach() else {"local_files_only": True}


def reading_weights(where: str) -> dict[str, Any]:
    """The same for weights, beside which transformers looks for an adapter's as well."""
    found = reading(where)
    return {**found, "adapter_kwargs": {**found}} if found else {}


@cache
def _in_reach() -> bool:
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    hub = urlsplit(constants.ENDPOINT)
    if hub.hostname is None or {hub.scheme, "all"} & set(getproxies()):
        # Behind a proxy only the client knows the way.
        return True
    return _answers(hub.hostname, hub.port or (443 if hub.scheme == "https" else 80))


def _answers(host: str, port: int) -> bool:
    end = time.monotonic() + PATIENCE
    try:
        known = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        return False
    for family, kind, protocol, _, address in known:
        if (left := end - time.monotonic()) <= 0:
            return False
        with suppress(OSError), socket.socket(family, kind, protocol) as asked:
            asked.settimeout(left)
            asked.connect(address)
            return True
    return False
