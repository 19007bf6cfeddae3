"""The model as served: `from inference import Tagger`. Importing this loads no torch; using it does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inference.tagger import Tagger

__all__ = ["Tagger"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from inference import tagger

        return getattr(tagger, name)
    raise AttributeError(f"module 'inference' has no attribute {name!r}; it has {', '.join(__all__)}")
