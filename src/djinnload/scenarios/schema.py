"""The grammar of scenario files: one Struct a table, without defaults that surprise.

Field names are the keys of the file. What one value alone can get wrong is said here by
its type; what two keys get wrong together is in `rules`. Tables that belong to a plugin
(``workload``, ``arrival``) stay raw here: plan hands them to the plugin's ``Options``.
"""

from typing import Annotated, Any, Literal

from msgspec import Meta, field

from djinnload.scenarios.behaviours import Behaviours, Memory
from djinnload.scenarios.experiment import Claim, ExperimentId
from djinnload.scenarios.length import Length, WarmupLength
from djinnload.scenarios.network import Network
from djinnload.scenarios.population import Population
from djinnload.scenarios.table import (
    Config,
    Core,
    Count,
    Index,
    Name,
    Positive,
    QosClass,
    Text,
)
from djinnload.units import SECOND, Duration, Hz, Share, Size

__all__ = (
    "Arm",
    "Calibrate",
    "Comparison",
    "Document",
    "Launch",
    "NamedPoint",
    "Probes",
    "Run",
    "Search",
    "Server",
    "Shares",
    "Sweep",
    "Target",
    "Verify",
)


class Run(Config, frozen=True, kw_only=True):
    """``[scenario]``: what is done how often and for how long.

    Attributes:
        name: Of the scenario, and of its folder in ``results``.
        seed: Everything random is derived from it and from names.
        repeats: Cells of each arm at each point.
        order: Of the cells; ``interleaved``: arms take turns, so that drift cancels.
        warmup: ns before measure, of the same load; 0: none. Or sessions.
        duration: ns of measure, > 0. Or sessions: then as long as they take.
        grace: ns that requests in flight are given after measure, if that has an end.
        max_in_flight: Requests of a run; what falls due beyond it is dropped.
        overload: ``unexpected``: a queue that grows voids the cell.
        load: Multiplies every rate "of capacity".
        workers: Processes that share the load.
        pin: True: a core for each worker; or the cores, dealt out in turn.
        on_server_loss: What a server's death ends, or does not; see docs/long-runs.md.
        objectives: Of whole cells: ``gpu_util``.
        experiment: Whose figures and tables a run of it makes; None: nobody's.
    """

    name: Name
    seed: Index = 1
    repeats: Annotated[int, Meta(ge=1, le=10_000)] = 1
    order: Literal["interleaved", "shuffled", "given"] = "interleaved"
    warmup: WarmupLength = WarmupLength(SECOND)
    duration: Length
    grace: Duration = Duration(20 * SECOND)
    max_in_flight: Count = 10_000
    overload: Literal["expected", "unexpected"] = "unexpected"
    load: Positive = 1.0
    workers: Annotated[int, Meta(ge=1, le=256)] = 1
    pin: bool | Annotated[tuple[Core, ...], Meta(min_length=1)] = False
    on_server_loss: Literal["void", "wait", "go_on"] = "void"
    objectives: tuple[str, ...] = ()
    experiment: ExperimentId | None = None


class Calibrate(Config, frozen=True, kw_only=True):
    """``[calibrate]``: how capacity, which rates may refer to, is found.

    Attributes:
        arm: That is measured; None: the first one.
        users: Of the closed mix.
        time: ns of it.
        capacity: Sessions/s; given, nothing is measured.
    """

    arm: Name | None = None
    users: Annotated[int, Meta(ge=1, le=100_000)] = 8
    time: Duration = Duration(5 * SECOND)
    capacity: Hz | None = None


class Shares(Config, frozen=True, kw_only=True):
    """``[target.server] shares``: of the slots, by class; a class left out has none."""

    realtime: Share | None = None
    interactive: Share | None = None
    batch: Share | None = None


class Server(Config, frozen=True, kw_only=True):
    """``[target.server]``: settings of a server that we boot; None: its own default.

    Attributes:
        policy: ``qos``; ``fcfs``, one FIFO over the same slots; ``none``, no queue.
        slots: Requests that run at once.
        shares: Of the slots, by class.
        default_class: Of a request that names none.
        escalation_delay: ns after which a head goes over its class's limit.
        admission_limit: Requests in the server; more are refused.
        queue_limit: Requests waiting; more are refused.
        threads: CPU threads of all forwards together; 0: all cores but one.
        nice: Niceness.
        device: ``cpu``, ``cuda``, ``cuda:1`` …
        memory: Allocator of requests that are allocations; ``behaviours.memory`` of an
            arm sets it.
        memory_bytes: Of an arena, had when the server starts.
        max_buffer_bytes: Of all messages being received at once; a blind arm's weights
            come as such.
        max_session_bytes: Of all sessions' states together; the longest idle goes.
    """

    policy: Literal["qos", "fcfs", "none"] | None = None
    slots: Annotated[int, Meta(ge=1, le=4096)] | None = None
    shares: Shares | None = None
    default_class: QosClass | None = None
    escalation_delay: Duration | None = None
    admission_limit: Count | None = None
    queue_limit: Count | None = None
    threads: Annotated[int, Meta(ge=0, le=4096)] | None = None
    nice: Annotated[int, Meta(ge=-20, le=19)] | None = None
    device: Text | None = None
    memory: Memory | None = None
    memory_bytes: Size | None = None
    max_buffer_bytes: Size | None = None
    max_session_bytes: Size | None = None


class Launch(Config, frozen=True, kw_only=True):
    """``[target.launch]``: how to start the server; see `scenarios.launching`.

    Attributes:
        command: argv, no shell, with placeholders; stays in the foreground.
        env: Added to ours, with placeholders; arms may differ in it.
        cwd: Of the server; None: ours.
        ready: ns until it must listen on ``{port}``.
        log: Its output, in the run directory, the boot's name before the suffix.
    """

    command: Annotated[tuple[Text, ...], Meta(min_length=1)]
    env: dict[str, str] = field(default_factory=dict)
    cwd: Text | None = None
    ready: Duration = Duration(60 * SECOND)
    log: Text = "server.log"


class Target(Config, frozen=True, kw_only=True):
    """``[target]``: what is driven.

    Attributes:
        use: Name of the target plugin.
        address: ``host:port``; None: see docs/real-djinn.md.
        server: Settings of a server that we boot.
        launch: The command that boots it; None: it runs, or is the embedded one.
        register: ``id``: the server builds the models; ``weights``: we send them.
        ready: ns that a server is given to answer.
        network: What lies between us and a server that we boot; None: loopback.
        options: Of the target plugin.
    """

    use: Text = "djinn"
    address: Annotated[str, Meta(pattern=r"^\S+:\d{1,5}\Z")] | None = None
    server: Server = Server()
    launch: Launch | None = None
    register: Literal["auto", "id", "weights"] = "auto"
    ready: Duration = Duration(60 * SECOND)
    network: Network | None = None
    options: dict[str, Any] = field(default_factory=dict)


class Arm(Config, frozen=True, kw_only=True):
    """``[[arm]]``: one way of doing it; arms are compared.

    Attributes:
        judged: Whether its objectives decide the exit code.
        repeats: The most that it has, the scenario's first ones; None: all.
        set: Values by path, such as ``target.server.policy``.
        unset: Paths removed.
        skip: Of a sweep, by its name: values that this arm is not measured at.
        behaviours: That the target executes and its server echoes.
        target: Stands in for the whole table ``[target]``.
    """

    name: Name
    judged: bool = True
    repeats: Annotated[int, Meta(ge=1, le=10_000)] | None = None
    set: dict[str, Any] = field(default_factory=dict)
    unset: tuple[str, ...] = ()
    skip: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    behaviours: Behaviours | None = None
    target: Target | None = None


class NamedPoint(Config, frozen=True, kw_only=True):
    """One of a sweep's ``points``: several values under one name."""

    name: Name
    set: dict[str, Any] = field(default_factory=dict)
    unset: tuple[str, ...] = ()


class Sweep(Config, frozen=True, kw_only=True):
    """``[[sweep]]``: what is measured at one value after the other; several multiply.

    Attributes:
        name: Before ``=`` in names of points.
        path: Of the *values*.
        values: Each is a point; its text is the point's name.
        points: Instead of path and values: named ones, each with paths of its own.
    """

    name: Name
    path: Text | None = None
    values: Annotated[tuple[Any, ...], Meta(min_length=1)] | None = None
    points: Annotated[tuple[NamedPoint, ...], Meta(min_length=1)] | None = None


class Comparison(Config, frozen=True, kw_only=True):
    """``[comparison]``: every other arm against one, paired by repeat.

    Attributes:
        baseline: Name of that arm.
        metrics: Left sides of objectives, such as ``p95(latency)``.
        equal_work: ``prefix``: the longer of two sessions may go on.
        pair_by: The only choice.
    """

    baseline: Name
    metrics: Annotated[tuple[Text, ...], Meta(min_length=1)]
    equal_work: Literal["exact", "prefix"] = "exact"
    pair_by: Literal["repeat"] = "repeat"


class Search(Config, frozen=True, kw_only=True):
    """``[search]``: the highest load that meets the objectives, see docs/search.md.

    Attributes:
        path: Of the load: a population's rate or users, or ``scenario.load``.
        low: Tried first, as the path has it.
        high: Tried last.
        resolution: Width of the bracket that will do, as a part of its lower end.
        confidence: That the bracket holds the limit.
        looks: At one load; the last sees 2 ** (looks − 1) durations.
        probes: Loads that are tried at most.
        time: ns after which no cell is begun.
    """

    path: Text
    low: str | int | float
    high: str | int | float
    resolution: Share = Share(0.05)
    confidence: Share = Share(0.95)
    looks: Annotated[int, Meta(ge=1, le=10)] = 4
    probes: Annotated[int, Meta(ge=1, le=200)] = 16
    time: Duration = Duration(3600 * SECOND)


class Verify(Config, frozen=True, kw_only=True):
    """``verify``: how many sessions have their answers checked.

    Attributes:
        share: Of the sessions of each population.
        at_least: Sessions of each population.
        device: Where the local copy runs that answers are held against; not the CPU
            where a model is too large to wait for there.
    """

    share: Share = Share(0.01)
    at_least: Annotated[int, Meta(ge=0, le=1_000_000)] = 20
    device: Text = "cpu"


class Probes(Config, frozen=True, kw_only=True):
    """``probes``: what is recorded beside the host; None: it is not.

    Attributes:
        nvml: ns between two looks at the GPUs.
        gpus: Indices of those; None: all.
        vmu: ns between two scrapes of the server's ``/metrics/vmu``.
        host: ns between two looks at this host's memory and network.
    """

    nvml: Duration | None = None
    gpus: Annotated[tuple[Index, ...], Meta(min_length=1)] | None = None
    vmu: Duration | None = None
    host: Duration | None = None


class Document(Config, frozen=True, kw_only=True):
    """A whole scenario file.

    Attributes:
        scenario: What is done how often and for how long.
        calibrate: How capacity, which rates may refer to, is found.
        target: The server.
        populations: Who asks what, how often, and what is promised to them.
        sweeps: Values at which all is measured, one after the other.
        arms: Variants that are held against each other.
        comparison: Which arm the others are compared with, in what.
        claims: Numbers that a plan promised, shown beside what was measured.
        verify: How many answers are checked.
        probes: What is recorded beside the samples.
        search: What ``djinnload search`` looks for.
        precise: Waits that poll for the last 100 µs; None: where services are short.
    """

    scenario: Run
    calibrate: Calibrate = Calibrate()
    target: Target = Target()
    populations: Annotated[tuple[Population, ...], Meta(min_length=1)] = field(
        name="population"
    )
    sweeps: tuple[Sweep, ...] = field(name="sweep", default=())
    arms: tuple[Arm, ...] = field(name="arm", default=())
    comparison: Comparison | None = None
    claims: tuple[Claim, ...] = field(name="claim", default=())
    verify: Verify = Verify()
    probes: Probes = Probes()
    search: Search | None = None
    precise: bool | None = None
