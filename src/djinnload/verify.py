"""Answers kept while the load runs, and checked when it is over.

``Reservoir`` chooses sessions by a hash: the same ones are checked in every arm.
``check`` has them replayed in one child process at nice 19: torch never runs, and is
never imported, in the process that makes the load.
"""

import hashlib
import subprocess
import sys
from bisect import insort
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Self

import anyio
import anyio.abc
import msgspec
from msgspec import Struct, field

from djinnload.errors import HostError, PluginError
from djinnload.models import replay
from djinnload.models.replay import Answer, CheckRow, Kept, WorkloadRecipe, plain
from djinnload.scenarios.schema import Verify
from djinnload.spi import Outcome, Reply, Request

__all__ = (
    "BUDGET_BYTES",
    "CheckRow",
    "Checker",
    "Kept",
    "Reservoir",
    "WorkloadRecipe",
    "check",
    "hand_over",
    "handed_over",
)

_HASHES: Final = 1 << 64
_MASK: Final = _HASHES - 1
_SPREAD: Final = 0x9E3779B97F4A7C15
_CHUNK_BYTES: Final = 16 * 2**20
#: Of all answers that are kept in a cell.
BUDGET_BYTES: Final = 256 * 2**20


class _Session(Struct):
    added: list[tuple[int, Request, Reply]] = field(default_factory=list)
    nbytes: int = 0


class _Population(Struct):
    salt: int
    limit: int = _HASHES  #: Hashes from here on are not wanted.
    cap: int = _HASHES  #: As far as the budget allows.
    nbytes: int = 0
    order: list[tuple[int, int, int]] = field(default_factory=list)
    sessions: dict[tuple[int, int], _Session] = field(default_factory=dict)


class Reservoir:
    """A seeded sample of sessions, bounded in bytes; the engine's ``Keeper``.

    A session is kept if its hash is below *share*, or among the *at_least* smallest of
    its population. Over the budget, the session with the largest hash is given up, in
    the population that takes the most: a rare class is not crowded out by a busy one.
    Warm-up (*index* < 0) is never kept.

    Args:
        seed: Of the choice.
        share: Of the sessions, 0 to 1.
        at_least: Sessions of each population.
        budget_bytes: Of all that is kept.
    """

    @classmethod
    def of(
        cls, seed: int, wanted: Verify, target: type[Any], budget: int = BUDGET_BYTES
    ) -> Self:
        """Return one that keeps what *wanted* says; without answers, nothing.

        A target class says ``answers = False`` if what it replies means nothing.
        """
        if not getattr(target, "answers", True):
            return cls(seed, 0.0, 0, budget)
        return cls(seed, wanted.share, wanted.at_least, budget)

    def __init__(
        self, seed: int, share: float, at_least: int, budget_bytes: int = BUDGET_BYTES
    ) -> None:
        self._seed = seed
        self._share = round(share * _HASHES)
        self._at_least = at_least
        self._budget = budget_bytes
        self._nbytes = 0
        self._populations: dict[str, _Population] = {}

    def wants(self, population: str, user: int, index: int) -> bool:
        """Return whether answers of this session are to be added; pure and fast."""
        found = self._populations.get(population) or self._new(population)
        hashed = _hashed(found.salt, user, index)
        return hashed < found.limit and index >= 0

    def add(  # noqa: PLR0917 - the engine's, called for each reply
        self,
        population: str,
        user: int,
        index: int,
        seq: int,
        request: Request,
        reply: Reply,
    ) -> None:
        """Keep an answer, if it is one and its session is still wanted."""
        if reply.outcome is not Outcome.OK or not self.wants(population, user, index):
            return
        found = self._populations[population]
        key = (user, index)
        session = found.sessions.get(key)
        if session is None:
            session = found.sessions[key] = _Session()
            hashed = _hashed(found.salt, user, index)
            insort(found.order, (hashed, user, index))
            self._trim(found)
        nbytes = _nbytes(request, reply)
        session.added.append((seq, request, reply))
        session.nbytes += nbytes
        found.nbytes += nbytes
        self._nbytes += nbytes
        while self._nbytes > self._budget:
            largest = max(self._populations.values(), key=lambda each: each.nbytes)
            largest.cap = self._evict(largest)
            self._limit(largest)

    def end(self, population: str, user: int, index: int) -> None:
        """Take note that the session is over: what it gave is kept as it is."""

    @property
    def kept(self) -> list[Kept]:
        """What is kept, session by session, each in the order of its requests."""
        return [
            plain((name, *key), *added)
            for name, population in self._populations.items()
            for key, session in population.sessions.items()
            for added in session.added
        ]

    def among(
        self, sessions: Iterable[tuple[str, int, int]]
    ) -> set[tuple[str, int, int]]:
        """Return those that this reservoir would keep of *sessions*, whatever bytes."""
        found: dict[str, list[tuple[int, int, int]]] = {}
        for population, user, index in sessions:
            salt = _salt(self._seed, population)
            each = (_hashed(salt, user, index), user, index)
            found.setdefault(population, []).append(each)
        return {
            (population, user, index)
            for population, every in found.items()
            for place, (hashed, user, index) in enumerate(sorted(every))
            if place < self._at_least or hashed < self._share
        }

    def _new(self, population: str) -> _Population:
        made = _Population(_salt(self._seed, population))
        if not self._at_least:
            made.limit = self._share
        return self._populations.setdefault(population, made)

    def _trim(self, population: _Population) -> None:
        order = population.order
        while len(order) > self._at_least and order[-1][0] >= self._share:
            self._evict(population)
        self._limit(population)

    def _limit(self, population: _Population) -> None:
        order, least = population.order, self._at_least
        limit = _HASHES
        if len(order) >= least:
            # One above the hash, for the session that has it is itself still wanted.
            limit = max(self._share, order[least - 1][0] + 1 if least else 0)
        population.limit = min(limit, population.cap)

    def _evict(self, population: _Population) -> int:
        hashed, user, index = population.order.pop()
        gone = population.sessions.pop((user, index))
        population.nbytes -= gone.nbytes
        self._nbytes -= gone.nbytes
        return hashed


def _salt(seed: int, population: str) -> int:
    digest = hashlib.sha256(f"{seed} {population}".encode()).digest()
    return int.from_bytes(digest[:7])


def _hashed(salt: int, user: int, index: int) -> int:
    # The hash of integers is the same in every process: nothing randomises it.
    return hash((salt, user, index)) * _SPREAD & _MASK


def hand_over(cell_dir: Path, worker: int, kept: Sequence[Kept]) -> None:
    """Write what a worker kept, for the run to check."""
    if kept:
        path = cell_dir / "checks" / f"w{worker}.kept"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(msgspec.msgpack.encode(kept))


def handed_over(cell_dir: Path, reservoir: Reservoir) -> dict[int, list[Kept]]:
    """Return what all workers kept, by worker, and remove it from the disk.

    Each kept its own ``at_least`` sessions; of all, those are returned that one worker
    alone would have kept.
    """
    found: dict[int, list[Kept]] = {}
    for path in sorted((cell_dir / "checks").glob("w*.kept")):
        number = int(path.stem.removeprefix("w"))
        found[number] = msgspec.msgpack.decode(path.read_bytes(), type=list[Kept])
        path.unlink()
    chosen = reservoir.among({k.session for kept in found.values() for k in kept})
    return {
        number: [each for each in kept if each.session in chosen]
        for number, kept in found.items()
    }


async def check(
    kept: Iterable[Kept], recipes: Mapping[str, WorkloadRecipe]
) -> list[CheckRow]:
    """Check with a child made for it alone; see `Checker.check`."""
    async with Checker() as checker:
        return await checker.check(kept, recipes)


class Checker:
    """The child process that checks answers; an async context manager.

    A process of its own, and not one of a pool that imports our ``__main__`` again:
    whoever embeds a run need not guard theirs.
    """

    def __init__(self) -> None:
        self._process: anyio.abc.Process | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with anyio.CancelScope(shield=True):
            if process.returncode is None:
                # It has nothing to finish: what it found has been read.
                with suppress(ProcessLookupError):
                    process.kill()
            await process.aclose()

    async def warm(self, recipes: Mapping[str, WorkloadRecipe]) -> None:
        """Have it import, build and load all that ``check`` needs.

        Raises:
            PluginError: A workload cannot be built there.
            HostError: The child died.
        """
        for name, recipe in recipes.items():
            await self._ask(replay.WARM, ([], {name: recipe}))

    async def check(
        self, kept: Iterable[Kept], recipes: Mapping[str, WorkloadRecipe]
    ) -> list[CheckRow]:
        """Return a row for each answer kept, in the order of *seq*.

        Args:
            kept: Of ``Reservoir.kept``; each session's answers next to each other.
            recipes: By population.

        Raises:
            PluginError: A workload cannot be built again, or its ``verify`` broke.
            HostError: The child died.
        """
        rows: list[CheckRow] = []
        for chunk in _chunks(kept):
            needed = {each.population: recipes[each.population] for each in chunk}
            rows += await self._ask(replay.CHECK, (chunk, needed))
        return sorted(rows, key=lambda row: row.seq)

    async def _ask(self, task: int, question: object) -> list[CheckRow]:
        if self._process is None:
            self._process = await anyio.open_process(
                [sys.executable, "-m", "djinnload.models.replay"],
                stderr=subprocess.DEVNULL,
                # A group of its own: a signal to ours is the run's to handle.
                start_new_session=True,
            )
            await self._send(replay.PATH, sys.path)
        try:
            await self._send(task, question)
            answer = await self._receive()
        except (anyio.BrokenResourceError, anyio.EndOfStream, OSError) as error:
            reason = "the process that checks answers died (out of memory?)"
            raise HostError(f"{reason}; check fewer with a smaller share") from error
        decoded = msgspec.msgpack.decode(answer, type=Answer)
        if decoded.failed is not None:
            raise PluginError(*decoded.failed)
        return decoded.rows

    async def _send(self, task: int, message: object) -> None:
        assert self._process is not None  # noqa: S101 - _ask made it
        assert self._process.stdin is not None  # noqa: S101 - piped by default
        payload = msgspec.msgpack.encode(message)
        await self._process.stdin.send(replay.HEADER.pack(task, len(payload)) + payload)

    async def _receive(self) -> bytes:
        assert self._process is not None  # noqa: S101 - _ask made it
        assert self._process.stdout is not None  # noqa: S101 - piped by default
        found, wanted = bytearray(), replay.HEADER.size
        while len(found) < wanted:
            found += await self._process.stdout.receive()
            if len(found) >= replay.HEADER.size:
                wanted = replay.HEADER.size + replay.HEADER.unpack_from(found)[1]
        return bytes(found[replay.HEADER.size :])


def _chunks(kept: Iterable[Kept]) -> Iterator[list[Kept]]:
    """Yield parts of about a chunk's bytes; no session is ever divided."""
    chunk: list[Kept] = []
    nbytes = 0
    for each in kept:
        if nbytes > _CHUNK_BYTES and each.session != chunk[-1].session:
            yield chunk
            chunk, nbytes = [], 0
        chunk.append(each)
        nbytes += sum(len(plain.data) for plain in each.inputs + each.outputs)
    if chunk:
        yield chunk


def _nbytes(request: Request, reply: Reply) -> int:
    # The reply's outputs are decoded when they are looked at, which is not now.
    received = reply.bytes_received or sum(t.nbytes for t in reply.outputs.values())
    return received + sum(tensor.nbytes for tensor in request.inputs.values())
