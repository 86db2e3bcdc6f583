"""sha256 of what sessions ask; as a command, of session 0 in a process of its own."""

import hashlib
import importlib
import json
import sys
from collections.abc import Iterable
from operator import attrgetter

from djinnload.spi import Outcome, Reply, Request

__all__ = ("fingerprint",)


def fingerprint(requests: Iterable[Request]) -> str:
    """Return the sha256, 64 hex digits, of all that *requests* ask."""
    found = hashlib.sha256()
    for request in requests:
        said = (
            request.model,
            request.step,
            request.turn,
            request.units,
            request.due_offset_ns,
            request.think_ns,
            request.state,
            request.last,
            request.verify,
            request.needs,
        )
        found.update(repr(said).encode())
        for table in (request.inputs, request.full or {}):
            for name, tensor in table.items():
                shape = (name, tensor.name, tensor.shape, tensor.dtype)
                found.update(repr(shape).encode())
                found.update(tensor.data)
    return found.hexdigest()


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
