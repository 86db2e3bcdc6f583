"""Answers replayed through the workload that asked for them, in a child process.

All that crosses between the processes is plain data in MessagePack; the other side is
``djinnload.verify``.
"""

import hashlib
import importlib
import os
import struct
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

import msgspec
from msgspec import Struct, field

from djinnload import units
from djinnload.errors import DjinnloadError, PluginError, TargetError
from djinnload.models.assets import BUILT_IN, ModelAssets
from djinnload.models.reference import LocalReference
from djinnload.spi import Check, Outcome, Reply, Request, Tensor

__all__ = (
    "CHECK",
    "HEADER",
    "PATH",
    "WARM",
    "Answer",
    "CheckRow",
    "Kept",
    "Plain",
    "WorkloadRecipe",
    "plain",
    "run",
)

_NICE: Final = 19
#: Of each message between the processes: what it is, and the bytes that follow.
HEADER: Final = struct.Struct("!BQ")
PATH, WARM, CHECK = range(3)


class Plain(Struct, frozen=True, array_like=True):
    """A tensor with bytes of its own, which msgspec can decode."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    data: bytes


class Kept(Struct, frozen=True, kw_only=True):
    """One request and its answer, as plain data.

    Attributes:
        seq: The sample's number.
        verify: The answer may be checked; else it is hashed only.
        needs: As in the request; ``outputs`` are those that it names.
    """

    population: str
    user: int
    index: int
    seq: int
    model: str
    step: str
    turn: int
    units: float
    state: str | None
    last: bool
    verify: bool
    needs: tuple[str, ...]
    inputs: tuple[Plain, ...]
    outputs: tuple[Plain, ...]

    @property
    def session(self) -> tuple[str, int, int]:
        """Return what names the session among all of the run."""
        return self.population, self.user, self.index


class CheckRow(Struct, frozen=True):
    """What was found out about one answer.

    Attributes:
        seq: The sample's number.
        output_hash: Hex SHA-256 of the outputs' bytes, in the order of their names.
        verified: None: its workload checks nothing, or not this request.
        max_abs_diff: In the output's unit; None as ``verified``.
        reason: One line if not verified.
    """

    seq: int
    output_hash: str
    verified: bool | None
    max_abs_diff: float | None
    reason: str


class WorkloadRecipe(Struct, frozen=True):
    """How the child builds a population's workload again.

    Attributes:
        entry: ``module:Class``.
        options: Plain values; quantities as numbers or as text with a unit.
        seed: Of its assets.
        device: Where the local copies of models run.
    """

    entry: str
    options: Mapping[str, Any]
    seed: int
    device: str = "cpu"

    @classmethod
    def of(cls, entry: str, options: Struct, seed: int) -> "WorkloadRecipe":
        """Return the recipe of a workload with these, already validated, options."""
        return cls(entry, msgspec.to_builtins(options, enc_hook=_to_number), seed)


class Answer(Struct):
    """What the child says.

    Attributes:
        failed: The plugin that broke its contract, and how; else None.
    """

    rows: list[CheckRow] = field(default_factory=list)
    failed: tuple[str, str] | None = None


def plain(key: tuple[str, int, int], seq: int, request: Request, reply: Reply) -> Kept:
    """Return an answer of the session *key* as plain data, its outputs decoded."""
    needed = {need.partition("[")[0] for need in request.needs}
    try:
        outputs = [t for t in reply.outputs.values() if not needed or t.name in needed]
    except (TargetError, ValueError):  # bytes that do not decode: no outputs at all
        outputs = []
    population, user, index = key
    return Kept(
        population=population,
        user=user,
        index=index,
        seq=seq,
        model=request.model,
        step=request.step,
        turn=request.turn,
        units=request.units,
        state=request.state,
        last=request.last,
        verify=request.verify,
        needs=request.needs,
        inputs=tuple(map(_tensor, request.inputs.values())),
        outputs=tuple(map(_tensor, outputs)),
    )


def _tensor(tensor: Tensor) -> Plain:
    return Plain(tensor.name, tensor.shape, tensor.dtype, bytes(tensor.data))


def _to_number(value: object) -> object:
    """Return a quantity as the plain number that it is."""
    for plain in (int, float):
        if isinstance(value, plain):
            return plain(value)
    raise NotImplementedError(f"option of type {type(value).__name__}")


def main() -> None:
    """Be the child: a task and a payload in, an answer out, until the input ends."""
    os.nice(_NICE)  # adds up, and stops at 19
    # Answers have a pipe of their own: whatever a plugin prints goes nowhere.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    asked = sys.stdin.buffer
    while header := asked.read(HEADER.size):
        task, length = HEADER.unpack(header)
        payload = asked.read(length)
        if task == PATH:
            sys.path[:] = msgspec.msgpack.decode(payload, type=list[str])
            continue
        answer = run(payload, warm=task == WARM)
        answers.write(HEADER.pack(task, len(answer)) + answer)
        answers.flush()


def run(payload: bytes, *, warm: bool) -> bytes:
    """Check answers; or, to *warm*, load what checking them will need.

    Args:
        payload: Answers and recipes, in MessagePack.
        warm: Check nothing.

    Returns:
        An ``Answer`` in MessagePack: our exceptions would not survive the way back.
    """
    kept, recipes = msgspec.msgpack.decode(
        payload, type=tuple[list[Kept], dict[str, WorkloadRecipe]]
    )
    answer = Answer()
    try:
        if warm:
            for recipe in recipes.values():
                _warm_one(recipe)
        else:
            answer.rows = list(_rows(kept, recipes))
    except PluginError as error:
        answer.failed = (error.plugin, error.reason)
    return msgspec.msgpack.encode(answer)


def _warm_one(recipe: WorkloadRecipe) -> None:
    workload, assets = _built(msgspec.json.encode(recipe))
    if not hasattr(workload, "verify"):
        return
    reference = LocalReference(assets.used, recipe.device)
    try:
        for name in assets.used:
            if name not in BUILT_IN:
                reference.tolerance(name)
    except DjinnloadError as error:
        raise _broken(recipe, f"its model cannot be built: {error}") from error


def _rows(
    kept: Iterable[Kept], recipes: Mapping[str, WorkloadRecipe]
) -> Iterator[CheckRow]:
    session: tuple[str, int, int] | None = None
    reference = LocalReference({})
    for each in kept:
        recipe = recipes[each.population]
        workload, assets = _built(msgspec.json.encode(recipe))
        if each.session != session:
            session = each.session
            reference = LocalReference(assets.used, recipe.device)
        hashed = _output_hash(each.outputs)
        if not each.verify or not hasattr(workload, "verify"):
            yield CheckRow(each.seq, hashed, None, None, "")
            continue
        found = _checked(workload, recipe, each, reference)
        yield CheckRow(each.seq, hashed, found.ok, found.max_abs_diff, found.reason)


def _checked(
    workload: Any, recipe: WorkloadRecipe, kept: Kept, reference: LocalReference
) -> Check:
    request = Request(
        kept.model,
        _tensors(kept.inputs),
        step=kept.step,
        turn=kept.turn,
        units=kept.units,
        state=kept.state,
        last=kept.last,
        needs=kept.needs,
    )
    reply = Reply(Outcome.OK, _tensors(kept.outputs))
    try:
        found = workload.verify(request, reply, reference)
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        raise _broken(recipe, f"verify raised {what}") from error
    if not isinstance(found, Check):
        raise _broken(recipe, f"verify returned {found!r}, not a Check")
    return found


@lru_cache(maxsize=32)
def _built(encoded: bytes) -> tuple[Any, ModelAssets]:
    recipe = msgspec.json.decode(encoded, type=WorkloadRecipe)
    module, _, name = recipe.entry.partition(":")
    assets = ModelAssets(recipe.seed)
    try:
        cls = getattr(importlib.import_module(module), name)
        options = msgspec.convert(recipe.options, cls.Options, dec_hook=_quantity)
        return cls(options, assets), assets
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        raise _broken(recipe, f"cannot be built to check answers: {what}") from error


def _quantity(kind: Any, value: Any) -> object:
    return units.parse(kind, value) if isinstance(value, str) else kind(value)


def _tensors(found: Iterable[Plain]) -> dict[str, Tensor]:
    return {p.name: Tensor(p.name, p.shape, p.dtype, p.data) for p in found}


def _output_hash(outputs: Iterable[Plain]) -> str:
    digest = hashlib.sha256()
    for output in sorted(outputs, key=lambda output: output.name):
        digest.update(output.data)
    return digest.hexdigest()


def _broken(recipe: WorkloadRecipe, reason: str) -> PluginError:
    return PluginError(f"djinnload.workloads: {recipe.entry}", reason)


if __name__ == "__main__":
    main()
