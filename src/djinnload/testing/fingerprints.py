"""As a command: sha256 of what session 0 asks, told in a process of its own."""

import importlib
import json
import sys
from operator import attrgetter

from djinnload.fingerprints import fingerprint
from djinnload.spi import Outcome, Reply


def main() -> None:
    """Print the fingerprint of session 0 of the workload that stdin names."""
    from djinnload.testing.sessions import tell
    from djinnload.testing.workload_checks import build

    asked = json.load(sys.stdin)
    sys.path[:] = asked["path"]
    module, _, name = asked["kind"].partition(":")
    kind = attrgetter(name)(importlib.import_module(module))
    workload, _ = build(kind, asked["options"], asked["seed"])
    told = tell(
        workload,
        lambda _: Reply(Outcome.OK),
        asked["seed"],
        0,
        asked["hints"],
        most=asked["most"],
    )
    print(fingerprint(told.requests))  # noqa: T201 - read by who started us


if __name__ == "__main__":
    main()
