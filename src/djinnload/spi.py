"""All that a plugin author imports: workloads, targets, arrival processes.

Plugins describe, the engine stamps: a workload never reads a clock, opens a task group
or writes a sample. Times are int ns on the host's monotonic clock. Nothing here imports
torch, numpy or pyarrow.
"""

from collections.abc import Callable, Generator, Iterator, Mapping
from enum import StrEnum
from random import Random
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from msgspec import Struct

from djinnload.units import Bandwidth, Duration, Hz, Share, Size

if TYPE_CHECKING:
    import numpy as np

__all__ = (
    "SPI_VERSION",
    "Arrival",
    "Assets",
    "AsyncTarget",
    "Bandwidth",
    "Call",
    "CallbackTarget",
    "Check",
    "Clock",
    "Duration",
    "Evidence",
    "Hz",
    "Model",
    "Outcome",
    "Proof",
    "Reference",
    "Reply",
    "Request",
    "Session",
    "Share",
    "Size",
    "Target",
    "TargetPlan",
    "Tensor",
    "Workload",
)

SPI_VERSION = "1.0"

Buffer = bytes | bytearray | memoryview
#: Shared: three dicts for each reply would wait for the recorder, and say nothing.
_NOTHING: Mapping[str, Any] = MappingProxyType({})


class Outcome(StrEnum):
    """How a request ended; all but ``ok`` rank as an infinite latency."""

    OK = "ok"
    ERROR = "error"  #: no answer, or one that says that it failed
    TIMEOUT = "timeout"  #: not done when its timeout, counted from due, was over
    REFUSED = "refused"  #: the server declined to take it (admission, quota)
    DROPPED = "dropped"  #: never sent: over ``max_in_flight``
    CANCELLED = "cancelled"  #: in flight, or overdue, when the grace was over
    WRONG = "wrong"  #: answered in time, but the answer is not right


class Tensor(Struct, frozen=True):
    """A named, contiguous, little-endian array that needs no torch and no numpy.

    Attributes:
        dtype: ``"float32"``, ``"int64"``, … without a library's prefix.
        data: ``prod(shape) × itemsize`` bytes.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    data: Buffer

    @property
    def nbytes(self) -> int:
        """Return the bytes of ``data``."""
        return memoryview(self.data).nbytes

    def numpy(self) -> "np.ndarray[Any, Any]":
        """Return a read-only view of shape ``shape``; imports numpy.

        Raises:
            TypeError: numpy has no such dtype (``bfloat16``).
        """
        import numpy as np

        view = np.frombuffer(self.data, dtype=self.dtype).reshape(self.shape)
        view.flags.writeable = False
        return view

    @classmethod
    def of(cls, name: str, array: "np.ndarray[Any, Any]") -> "Tensor":
        """Return a tensor over *array*'s own memory if that is contiguous."""
        import numpy as np

        flat = np.ascontiguousarray(array)
        # 0-d arrays: ascontiguousarray makes them 1-d; the shape is the caller's.
        data = flat.reshape(-1).data.cast("B") if flat.size else b""
        return cls(name, tuple(array.shape), str(array.dtype), data)


class Session(Struct):
    """One user's dialogue, about to start.

    Attributes:
        rng: This session's own random numbers, made from (seed, population, user,
            index): the same in every arm and process, whatever else runs.
        user: −1 in an open population without users.
        index: Number of this session of this user, from 0; warm-up counts −1, −2, ….
        hints: What a trace says of it, such as ``prompt_tokens``; else empty.
        behaviours: Of the arm; empty if the arm sets none.
    """

    rng: Random
    user: int = -1
    index: int = 0
    hints: Mapping[str, int] = {}
    behaviours: Mapping[str, str] = {}


class Request(Struct, frozen=True, gc=False):
    """What a workload asks of the server next.

    Attributes:
        model: A name that the workload had from ``Assets.model``.
        inputs: By the name of the model's argument.
        step: What the request is: ``prefill``, ``decode``, ``encode`` …
        turn: Exchange as the user perceives it; never falls within a session.
        units: Work done, in the workload's unit (tokens, images); > 0.
        due_offset_ns: Due at this time after the session's due; needs ``think_ns`` 0.
        think_ns: Pause before this request, after the previous reply.
        state: Name of the state on the server that this request continues.
        last: The session needs the server's state no more after this one.
        verify: The answer may be checked.
        full: Sent instead where the server keeps no state.
        needs: Outputs that are read, such as ``logits[-1]``; empty: all of them.
    """

    model: str
    inputs: Mapping[str, Tensor]
    step: str = "request"
    turn: int = 0
    units: float = 1
    due_offset_ns: int | None = None
    think_ns: int = 0
    state: str | None = None
    last: bool = False
    verify: bool = True
    full: Mapping[str, Tensor] | None = None
    needs: tuple[str, ...] = ()


class Call(Struct, frozen=True, gc=False):
    """A request on its way to a target.

    Attributes:
        session_id: Unique among all sessions that a server ever sees.
        deadline_ns: Time allowed from due, or None; told to the server, never enforced.
        timeout_at_ns: When the engine gives up, on the clock.
    """

    request: Request
    population: str
    session_id: str
    qos_class: str
    deadline_ns: int | None
    timeout_at_ns: int
    behaviours: Mapping[str, str]


class Reply(Struct, frozen=True, gc=False):
    """What came back.

    Attributes:
        outputs: Decoded on first look; empty unless ``outcome`` is ok.
        metrics: The server's word: ``queue_ns``, ``exec_ns``, ``reused_tokens`` are
            recorded under these names; a missing key is unknown, not zero.
        error: One line; empty if ok.
        first_ns: When the first byte (the first token, if the target streams) came.
        bytes_sent: On the socket, headers included.
        qos_class: The class that the server resolved; empty if it did not say.
        echo: What the server says it did, for the proof of arms. Equal contents may be,
            and better are, the same object.
    """

    outcome: Outcome
    outputs: Mapping[str, Tensor] = _NOTHING
    metrics: Mapping[str, float] = _NOTHING
    error: str = ""
    first_ns: int | None = None
    bytes_sent: int = 0
    bytes_received: int = 0
    qos_class: str = ""
    echo: Mapping[str, Any] = _NOTHING


class Model(Struct, frozen=True):
    """A model as the run knows it: a recipe, never the weights themselves.

    Attributes:
        name: As in the scenario, such as ``gpt2-small-4l``.
        architecture: ``transformers`` class name, such as ``GPT2LMHeadModel``.
        config: Its configuration, complete and JSON-able.
        dtype: Of the weights, ``float32`` …
        seed: Of the weights.
        source: ``random``, or the directory or hub id that they come from.
    """

    name: str
    architecture: str
    config: Mapping[str, Any]
    dtype: str
    seed: int
    source: str = "random"

    @property
    def model_id(self) -> str:
        """Return the name by which the reference server builds the model itself."""
        return f"djinnload:{self.name}?seed={self.seed}&dtype={self.dtype}"


class Assets(Protocol):
    """What a workload is given to prepare itself with; used in ``__init__`` only."""

    seed: int

    def model(self, name: str, *, dtype: str = "float32") -> Model:
        """Return the named model; the run registers every model asked for.

        Raises:
            UnknownName: No such model.
        """
        ...


class Check(Struct, frozen=True):
    """Whether an answer was right.

    Attributes:
        ok: False turns the request's outcome into ``wrong``.
        max_abs_diff: Largest difference found, in the output's unit.
        reason: One line if not ok.
    """

    ok: bool
    max_abs_diff: float = 0.0
    reason: str = ""


class Reference(Protocol):
    """What ``verify`` compares with; one for each session, in the session's order.

    Attributes:
        state: Empty at the session's first checked request; the workload's to fill.
    """

    state: dict[str, Any]

    def forward(self, model: str, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Run *inputs* through the local copy of *model*, nothing cached."""
        ...

    def tolerance(self, model: str) -> float:
        """Return the largest difference ÷ std of the reference that is right."""
        ...


@runtime_checkable
class Workload(Protocol):
    """What a session says. Built in plan; ``__init__`` may be slow.

    A workload may also define ``verify(request, reply, reference) -> Check``,
    ``unit: str``, the name of what ``Request.units`` counts, and ``accepts(hints)``,
    which raises ScenarioError for hints of an arrival process that it cannot take.
    """

    Options: type[Struct]

    def __init__(self, options: Any, assets: Assets) -> None: ...

    def session(self, session: Session) -> Generator[Request, Reply, None]:
        """Yield requests, be sent their replies, return to end; fast, no clock, no I/O.

        A reply that is not ok is sent in too; return to give up. The first request may
        be asked for before the session is due, up to the start before.
        """
        ...


class Clock(Protocol):
    """Time, and being called at a time: real or simulated."""

    def now(self) -> int:
        """Return ns on the host's monotonic clock."""
        ...

    def at(self, due_ns: int, callback: Callable[[], None]) -> None:
        """Call *callback* once, at *due_ns* or as soon after it as possible.

        Never before, never inside this call; late ones in order of *due_ns*, equal ones
        in the order of these calls.
        """
        ...


class Evidence(Struct, frozen=True):
    """How a setting of an arm is known to have been in force.

    Attributes:
        how: ``echoed`` by the server, ``launched`` by us, ``declared``, or ``none``.
        value: What was in force, if known.
    """

    how: str
    value: Any = None


class Proof(Struct, frozen=True):
    """What a target knows of its server once it is open.

    Attributes:
        kind: What answered, for people: ``djinnload reference server 0.1.0`` …
        evidence: By setting, such as ``policy``.
        registration: Bytes spent on registering models, sent and received.
    """

    kind: str
    evidence: Mapping[str, Evidence] = {}
    registration: Mapping[str, int] = {}


class TargetPlan(Struct, frozen=True):
    """What a target is opened for.

    Attributes:
        address: ``host:port``, or empty for a target without one.
        models: To register before the run.
        register: ``id`` (the server builds the model), ``weights`` (we send them).
        ready_ns: How long to wait for the server to answer.
    """

    address: str
    models: tuple[Model, ...] = ()
    register: str = "weights"
    ready_ns: int = 60_000_000_000


class Target(Protocol):
    """A server, as the run sees it: opened, called, closed. See the two kinds below.

    A target whose replies mean nothing may say ``answers = False``: none is checked.
    One that executes behaviours has the static method ``executes(options)``, which
    returns, by name, the words of ``Call.behaviours`` that it knows; arms with others
    are refused.
    """

    Options: type[Struct]
    streams: bool

    def __init__(self, options: Any) -> None: ...

    async def open(self, plan: TargetPlan, clock: Clock) -> Proof:
        """Wait until the server answers, register the models, say what is proven.

        Raises:
            TargetError: It does not answer, or refuses a model.
        """
        ...

    async def aclose(self) -> None:
        """Give up every connection."""
        ...


@runtime_checkable
class AsyncTarget(Target, Protocol):
    """The easy kind: one coroutine a request."""

    async def exchange(self, call: Call) -> Reply:
        """Return what came of *call*; being cancelled means that nobody waits."""
        ...


@runtime_checkable
class CallbackTarget(Target, Protocol):
    """The fast kind: no task a request."""

    def submit(
        self, call: Call, on_reply: Callable[[Reply], None]
    ) -> Callable[[], Reply | None]:
        """Send *call*; call *on_reply* once, never before this returns.

        Returns:
            A function that cancels: *on_reply* is then never called, and what is known
            so far (bytes) is returned. Idempotent; None if there is nothing to tell.
        """
        ...

    def end_session(self, session_id: str) -> None:
        """Forget what was kept for the session; called once, after its last reply."""
        ...


@runtime_checkable
class Arrival(Protocol):
    """An arrival process: pure, a function of its options and the random numbers.

    It may also define:

    - ``random: bool``, whether anything is drawn; default True;
    - ``warmup(rng)``, as ``offsets``: steady at the process's first rate, for the time
      before measure; default: ``offsets``, right where the rate does not
      depend on the time;
    - ``residuals(offsets, rng) -> Sequence[float]``: *offsets*, as yielded for an equal
      *rng*, measured on the process's own clock. What is hidden (states, sizes) is
      drawn again from *rng*. Independent and exponential of mean 1 if ``random``, else
      1 for all but the first: so one test serves every process;
    - ``files``, the names of options that are paths of files: what a scenario says is
      taken from its own folder, and size and sha256 are recorded;
    - ``lengths()``, an iterable of the hints that will come; a workload's ``accepts``
      is asked about each before anything runs.
    """

    Options: type[Struct]

    def __init__(self, options: Any) -> None: ...

    def offsets(self, rng: Random) -> Iterator[tuple[int, Mapping[str, int]]]:
        """Yield (ns after the start, hints) in order, with an end or without."""
        ...

    def expected(self, seconds: float) -> float:
        """Return the mean number of sessions due in the first *seconds*."""
        ...
