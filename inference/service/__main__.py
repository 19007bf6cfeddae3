"""The service as a command that needs nothing of training: `python -m inference.service CHECKPOINT [SETTING=VALUE …]`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from annotations.errors import StandpointError, to_install
from inference.openmp import wait_briefly

PACKAGES = ("fastapi", "starlette", "uvicorn", "prometheus_client")


def main() -> int:
    """Serve; returns the exit status."""
    wait_briefly()
    parser = argparse.ArgumentParser(prog="python -m inference.service", description="Serve a checkpoint over HTTP.")
    parser.add_argument("checkpoint", type=Path, help="checkpoint folder, or model store")
    parser.add_argument("settings", nargs="*", help="settings to override, such as port=8081 limits.body_mb=4")
    parser.add_argument("--config", type=Path, help="YAML file of settings")
    arguments = parser.parse_args()
    from inference.service.running import serve, settings

    try:
        serve(arguments.checkpoint, settings(arguments.config, arguments.settings), _say)
    except StandpointError as error:
        _say(f"standpoint: {error}")
        return 2
    except ModuleNotFoundError as error:
        if error.name not in PACKAGES:
            raise
        _say(f"standpoint: serving needs the package {error.name!r}; {to_install('serve')}")
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
