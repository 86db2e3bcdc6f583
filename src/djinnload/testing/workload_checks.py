"""Whether a workload keeps the contract of `djinnload.spi.Workload`; no server."""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from djinnload.fingerprints import fingerprint
from djinnload.models.assets import ModelAssets
from djinnload.scenarios.decoding import decode
from djinnload.spi import Model, Outcome, Reply, Request, Workload
from djinnload.testing.sessions import Told, malformed, tell
from djinnload.testing.simulation import (
    Answer,
    ScriptedTarget,
    constant,
    open_loop,
    population,
    simulate,
)

__all__ = ("WorkloadReport", "check_workload")

_SECOND = 1_000_000_000
_BAD = tuple(each for each in Outcome if each is not Outcome.OK)


class WorkloadReport(Struct, frozen=True):
    """What a workload that keeps its contract says.

    Attributes:
        requests: Of all sessions told.
        units: Of work in them, in the workload's ``unit``.
        input_bytes: In the tensors of all requests.
        models: That it asked its assets for.
        fingerprint: sha256 of every request: pin it, and a change is noticed.
    """

    requests: int
    units: float
    input_bytes: int
    models: tuple[str, ...]
    fingerprint: str


def check_workload(
    kind: type[Workload],
    options: Mapping[str, Any] | None = None,
    *,
    hints: Mapping[str, int] | None = None,
    sessions: int = 8,
    seed: int = 1,
    answer: Callable[[Request], Reply] = lambda _: Reply(Outcome.OK),
    most_requests: int = 10_000,
) -> WorkloadReport:
    """Check all that can be known of a workload without a server.

    That its options are read strictly; that sessions ask well-formed requests of models
    it was given, and end; that the same seed says the same, in another process too;
    that nothing is opened, imported, awaited or slept for once a session is due; that
    every outcome but ok is borne; that a session paced by offsets does not depend on
    the replies; that it runs in the engine.

    Args:
        kind: The plugin's class.
        options: As in a scenario's ``workload``, without ``use``.
        hints: Of a trace, given to every session.
        sessions: How many are told, > 0.
        seed: Of assets and sessions.
        answer: What a server would reply; only workloads that read outputs need it.
        most_requests: A session that asks more is taken for endless.

    Raises:
        ScenarioError: *options* are wrong.
        AssertionError: Lists every breach.
    """
    check = _Check(kind, dict(options or {}), dict(hints or {}), seed, most_requests)
    told = [check.told(index, answer) for index in range(sessions)]
    problems = [p for each in told for p in check.problems(each)]
    problems += check.of_options()
    if not problems:
        problems += check.repeated(told, answer)
        problems += check.of_bad_replies(told[0])
        problems += check.of_offsets(told[0])
        problems += check.in_engine(answer)
    if problems:
        name = f"{kind.__module__}.{kind.__qualname__}"
        lines = "".join(f"\n- {each}" for each in dict.fromkeys(problems))
        raise AssertionError(f"{name} breaks the contract of a workload:{lines}")
    requests = [request for each in told for request in each.requests]
    tensors = [t for request in requests for t in request.inputs.values()]
    return WorkloadReport(
        requests=len(requests),
        units=sum(request.units for request in requests),
        input_bytes=sum(tensor.nbytes for tensor in tensors),
        models=tuple(check.used),
        fingerprint=fingerprint(requests),
    )


class _Check:
    """One workload under check."""

    def __init__(
        self,
        kind: type[Workload],
        options: dict[str, Any],
        hints: dict[str, int],
        seed: int,
        most: int,
    ) -> None:
        self.kind = kind
        self.options = options
        self.hints = hints
        self.seed = seed
        self.most = most
        self.workload, self.used = build(kind, options, seed)

    def told(self, index: int, answer: Callable[[Request], Reply]) -> Told:
        return tell(self.workload, answer, self.seed, index, self.hints, most=self.most)

    def problems(self, told: Told) -> list[str]:
        found = list(told.problems)
        if not told.requests:
            found.append(f"session {told.index} asks nothing")
        for request in told.requests:
            found += malformed(request)
            if request.model not in self.used:
                known = ", ".join(self.used) or "none"
                found.append(
                    f"asks {request.model!r}, which it did not have from "
                    f"assets.model (it had: {known})"
                )
        return found

    def of_options(self) -> list[str]:
        config = self.kind.Options.__struct_config__
        found = []
        if not config.frozen:
            found.append("Options is not frozen, yet all sessions share it")
        if not config.forbid_unknown_fields:
            found.append("Options takes unknown keys: forbid_unknown_fields=True")
        if not isinstance(getattr(self.kind, "unit", "units"), str):
            found.append("unit is not text")
        return found

    def repeated(
        self, told: list[Told], answer: Callable[[Request], Reply]
    ) -> list[str]:
        before = fingerprint(r for each in told for r in each.requests)
        again, _ = build(self.kind, self.options, self.seed)
        second = [
            request
            for each in told
            for request in tell(
                again, answer, self.seed, each.index, self.hints, most=self.most
            ).requests
        ]
        if fingerprint(second) != before:
            return ["built again with the same seed, it asks something else"]
        elsewhere = self._in_another_process()
        first = fingerprint(self.told(0, _ok).requests)
        if elsewhere is not None and elsewhere != first:
            return ["in another process, with the same seed, it asks something else"]
        return []

    def _in_another_process(self) -> str | None:
        """Return what a fresh interpreter says of session 0; None if it cannot."""
        where = f"{self.kind.__module__}:{self.kind.__qualname__}"
        if "<locals>" in where or self.kind.__module__ == "__main__":
            return None
        asked = {
            "kind": where,
            "options": self.options,
            "hints": self.hints,
            "seed": self.seed,
            "most": self.most,
            "path": sys.path,
        }
        done = subprocess.run(
            [sys.executable, "-m", "djinnload.testing.fingerprints"],
            input=json.dumps(asked, default=str),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return done.stdout.strip() if done.returncode == 0 else None

    def of_bad_replies(self, told: Told) -> list[str]:
        found = []
        for outcome in _BAD:
            for at in {0, len(told.requests) - 1}:
                bad = self.told(told.index, _bad_at(at, outcome))
                found += [f"after a reply {outcome}: {p}" for p in bad.problems]
        return found

    def of_offsets(self, told: Told) -> list[str]:
        """Turns paced by offsets come whatever the server says."""
        paced = [r for r in told.requests if r.due_offset_ns is not None]
        if not paced:
            return []
        all_bad = self.told(told.index, lambda _: Reply(Outcome.ERROR, error="test"))
        again = [r for r in all_bad.requests if r.due_offset_ns is not None]
        turns = [(r.turn, r.due_offset_ns) for r in paced]
        if [(r.turn, r.due_offset_ns) for r in again] == turns:
            return []
        return ["turns with due_offset_ns change with the replies, they must not"]

    def in_engine(self, answer: Callable[[Request], Reply]) -> list[str]:
        """Run it as a run does, in simulated time."""
        found = simulate(
            (population("checked", self.workload.session),),
            open_loop(constant(10.0), duration_ns=_SECOND),
            lambda clock: ScriptedTarget(
                clock, lambda call: Answer(1_000_000, answer(call.request))
            ),
            grace_ns=60 * _SECOND,
        )
        return [] if found.engine.error is None else [str(found.engine.error)]


def build(
    kind: type[Workload], options: Mapping[str, Any], seed: int
) -> tuple[Workload, dict[str, Model]]:
    """Return the workload, and the models that it asked for, by name."""
    assets = ModelAssets(seed)
    read = decode(dict(options), kind.Options, path="options")
    return kind(read, assets), assets.used


def _ok(_: Request) -> Reply:
    return Reply(Outcome.OK)


def _bad_at(place: int, outcome: Outcome) -> Callable[[Request], Reply]:
    seen = 0

    def answer(_: Request) -> Reply:
        nonlocal seen
        seen += 1
        return Reply(outcome if seen - 1 == place else Outcome.OK)

    return answer
