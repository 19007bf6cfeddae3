"""The settings of `standpoint serve --label-studio`. It knows names, types and defaults, and does nothing with them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from annotations.config import Config
from annotations.labelstudio.policy import Policy

TOKEN = "LABEL_STUDIO_API_KEY"
"""The environment variable that holds the token; it is never in a file or on a command line."""


def _address(url: str) -> str:
    if not url.startswith(("http://", "https://")):
        raise ValueError("give the server's address with http:// or https://")
    if "@" in url.partition("://")[2].partition("/")[0]:
        raise ValueError(f"holds a user or password; the token belongs in the environment variable {TOKEN}")
    return url


class ServeConfig(Config):
    """What an ML backend serves, where it learns from, and when."""

    label_studio: Annotated[str, AfterValidator(_address)]
    """Address of the Label Studio server, to pull annotations from."""
    project: int = Field(ge=1)
    """The project whose annotations count."""
    checkpoint: Path
    """The tagger to begin with; copied into the store at the first start and not looked at again."""
    store: Path
    """Folder of all versions, jobs and pulled annotations; it belongs to this backend alone."""
    train: Path
    """YAML file of the run that trains the next version; the project's annotations are added to its training data."""
    train_overrides: tuple[str, ...] = ()
    """Settings of that run to override, such as `epochs=10`."""
    evaluation: tuple[Path, ...] = ()
    """Annotated files to compare versions on, beside the run's own `data.test` and `data.held_out`.

    Articles that a version learned from are left out; some must be left.
    """
    policy: Policy = Policy()
    """Which annotation counts where a task has several."""
    retrain_after: int | None = Field(default=20, ge=1)
    """Changed annotations that start a training job; null to train only when the server asks."""
    quiet_seconds: float = Field(default=10, ge=0)
    """Time without further changes before the job starts, so that a storm of them makes one job."""
    patience_seconds: float = Field(default=300, ge=0)
    """Longest wait for such quiet."""
    tolerance: float = Field(default=0.0, ge=0)
    """How much lower than the current version's mean score the new one's may be."""
    keep_versions: int = Field(default=5, ge=2)
    """Versions that stay in the store; older ones are deleted after a swap."""
    host: str = "127.0.0.1"
    """Address to listen on. Whoever reaches it may ask for predictions and start training."""
    port: int = Field(default=9090, ge=0, le=65535)
    """Port to listen on; 0 takes a free one."""
    max_body_mb: int = Field(default=64, ge=1)
    """Longest request, in megabytes."""
