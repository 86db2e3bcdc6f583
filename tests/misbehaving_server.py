"""A reference server that misbehaves: `python misbehaving_server.py KIND --port 0`.

Reads the server's environment variables and prints its ready line, as
`python -m djinnload serve` does.
"""

import argparse
import json
import os
import sys
from contextlib import suppress
from functools import partial

import anyio
from msgspec.structs import replace

from djinnload.server.app import serve
from djinnload.server.settings import Settings
from misbehaving import KINDS  # beside this file


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--port", type=int)
    parser.add_argument("--exit-with-parent", action="store_true")
    asked = parser.parse_args()
    settings = Settings.from_environment(os.environ)
    if asked.port is not None:
        settings = replace(settings, port=asked.port)
    if asked.exit_with_parent:
        settings = replace(settings, exit_with_parent=True)
    executor = KINDS[asked.kind](settings)
    with suppress(KeyboardInterrupt):
        anyio.run(partial(serve, settings, on_ready=ready, executor=executor))


def ready(host: str, port: int) -> None:
    sys.stdout.write(json.dumps({"ready": {"host": host, "port": port}}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
