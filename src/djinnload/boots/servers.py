"""Which servers a run needs, and the targets opened on them.

One boot is shared by all repeats and by every arm that agrees on what needs a boot; the
servers stay up side by side, the unmeasured ones idle. Address: argument > scenario
(``address`` or ``launch``) > ``GENIE_SERVER_ADDRESS`` > the embedded reference server,
a child process.
"""

import os
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
)
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

import anyio
import msgspec
from msgspec import Struct

from djinnload.boots import child as launch
from djinnload.boots import settings as server_settings
from djinnload.boots.settings import differing, path, settings
from djinnload.boots.starting import started
from djinnload.clock import monotonic_ns
from djinnload.errors import HostError, LocalProtocolError, ScenarioError
from djinnload.plan import CellPlan
from djinnload.scenarios.load import Scenario
from djinnload.spi import (
    AsyncTarget,
    CallbackTarget,
    Evidence,
    Model,
    Proof,
    Target,
    TargetPlan,
)
from djinnload.targets.adapt import as_callback
from djinnload.targets.exchange import host_and_port

__all__ = (
    "Boot",
    "Driver",
    "answers",
    "booted",
    "driving",
    "key",
    "opened",
    "revived",
    "where",
)

#: Opens a target, given its address (or itself) and how models get there.
Driver = Callable[
    [str | Target, str], AbstractAsyncContextManager[tuple[CallbackTarget, Proof]]
]

#: A server that we start: the scenario's own command, or the embedded one.
EMBEDDED = ""


@runtime_checkable
class _Watchful(Protocol):
    """A target that can tell that its server is gone."""

    def lost(self) -> bool: ...


class Boot(Struct, frozen=True):
    """A server that answers, with the models registered.

    Attributes:
        settings: What the scenario wants of the server, by name.
        register: How the models came there: ``id`` or ``weights``.
        child: The process, if it is ours.
        network: What was set between it and us, and measured; None: nothing.
    """

    name: str
    address: str
    target: CallbackTarget
    proof: Proof
    settings: Mapping[str, Any]
    register: str
    child: launch.Child | None = None
    network: Mapping[str, Any] | None = None

    def alive(self) -> bool:
        """Return False if it has ended, as far as that can be told."""
        if self.child is not None:
            return self.child.alive
        return answers(self.target)

    def lost_ns(self) -> int:
        """Return since when it is not alive, as far as that can be told."""
        since = None if self.child else getattr(self.target, "deserted_ns", None)
        return monotonic_ns() if since is None else int(since)

    @property
    def metrics(self) -> str | None:
        """Return ``host:port`` of its diagnostics; None: it has none."""
        # An address of a plugin's target is none of a Djinn server.
        host = (host_and_port(self.address) or ("", 0))[0]
        if self.child is not None:
            port = self.child.metrics_port
        else:
            port = server_settings.metrics_port(os.environ)
        return f"{host}:{port}" if host and port else None

    async def drained(self, limit_ns: int) -> dict[str, Any]:
        """Wait until our own server is idle, for *limit_ns* at most.

        Requests that were cancelled are still its work. A server that is not ours does
        not say what it does.

        Returns:
            ``seconds`` waited; ``idle``, None where that cannot be known.
        """
        began = monotonic_ns()
        idle = None if self.child is None else await self.child.idle(limit_ns / 1e9)
        return {"seconds": (monotonic_ns() - began) / 1e9, "idle": idle}

    def ended(self, during: str) -> HostError:
        """Return what to say when it is not alive any more."""
        kept = f"during {during}; what was measured until then is kept"
        if self.child is not None:
            return HostError(
                f"{self.child.name} ended {kept}; its log {self.child.log}"
            )
        return HostError(
            f"nothing listens at {self.address} any more, its server was lost {kept}; "
            "start it again, and the run: the models went with it"
        )

    def manifest(self) -> dict[str, Any]:
        """Return the ``proof`` section of a cell's manifest, without the echoes."""
        return {
            "kind": self.proof.kind,
            "address": self.address,
            "embedded": self.child is not None and self.child.name == launch.EMBEDDED,
            "pid": self.child and self.child.process.pid,
            "evidence": msgspec.to_builtins(self.proof.evidence),
            "settings": dict(self.settings),
            "register": self.register,
            "registration": dict(self.proof.registration),
            "boot": self.name,
        }


def answers(target: CallbackTarget) -> bool:
    """Return False if the target has lost its server, as far as it can tell."""
    return not (isinstance(target, _Watchful) and target.lost())


class _Clock:
    """What `Target.open` may ask the time of before any cell has a clock of its own."""

    now = staticmethod(monotonic_ns)

    def at(self, due_ns: int, callback: Callable[[], None]) -> None:
        raise LocalProtocolError("a target may not use Clock.at while it is opened")


def where(scenario: Scenario, target: str | Target | None) -> str | Target:
    """Return the address (or target object) to drive; EMBEDDED for one that we start.

    Raises:
        ScenarioError: The address is none.
    """
    wanted = scenario.target
    if wanted.use == "local":
        return EMBEDDED  # a process of its own, whatever the other arms drive
    if target is not None:
        return _checked(scenario, target, "--target")
    if wanted.address or wanted.launch or wanted.use != "djinn":
        return wanted.address or EMBEDDED
    address = os.environ.get("GENIE_SERVER_ADDRESS", EMBEDDED)
    return address and _checked(scenario, address, "GENIE_SERVER_ADDRESS")


def _checked(scenario: Scenario, target: str | Target, path: str) -> str | Target:
    # An empty address, of a variable that is not set, must not mean our own server.
    if scenario.target.network is not None:
        reason = "target.network is of a server that djinnload starts"
        raise ScenarioError(path, f"{reason}; leave one of the two out")
    named = isinstance(target, str) and scenario.target.use == "djinn"
    if named and host_and_port(str(target)) is None:
        reason = f"{target!r} is no address, expected host:port"
        raise ScenarioError(path, f"{reason}, such as 127.0.0.1:5556")
    return target


def key(scenario: Scenario) -> str:
    """Return what needs a boot of its own: equal keys share a server."""
    return msgspec.json.encode(scenario.target, order="sorted").decode()


def refuse_reboots(
    arms: Mapping[str, Scenario], targets: Mapping[str, str | Target]
) -> None:
    """Raise ScenarioError if a target would have to be rebooted between *arms*.

    Args:
        arms: The chosen ones, as each runs; with sweeps, at each point.
        targets: Of each arm, from `where`.
    """
    for target in targets.values():
        sharing = [arm for arm, its in targets.items() if its == target]
        names = differing(arms[arm] for arm in sharing)
        if target == EMBEDDED or not names:
            continue
        listed = ", ".join(map(path, names))
        named = ", ".join(sharing[:4]) + ", …" * (len(sharing) > 4)  # noqa: PLR2004 - a line
        what = target if isinstance(target, str) else "the target given"
        raise ScenarioError(
            "--target",
            f"arms {named} differ in {listed}, which needs a server "
            f"started for each, and {what!r} is not ours to start; choose one with "
            "--arm NAME, or leave the address out: djinnload then starts one for each, "
            "by [target.launch] or the embedded reference server",
        )


@asynccontextmanager
async def opened(
    scenario: Scenario,
    target: str | Target,
    drive: Driver,
    *,
    name: str,
    directory: Path,
    cores: Collection[int] | None = None,
) -> AsyncIterator[Boot]:
    """Start the server if it is ours, open the target on it, close both at the end.

    Args:
        scenario: Of any of the arms that share this boot.
        target: From `where`.
        drive: Opens the target: `driving`, or workers.
        name: Of the boot, for its log and the index.
        directory: Gets ``server-<name>.log``.
        cores: That our server has to keep to; None: any.

    Raises:
        HostError: Our server did not start.
        TargetError: Nothing, or no Djinn, answers; or it refuses a model.
    """
    wanted = settings(scenario)
    register, hook = scenario.target.register, scenario.target.launch
    ours = target == EMBEDDED and (hook or scenario.target.use == "djinn")
    if register == "auto":
        register = "id" if ours and hook is None else "weights"
    if not ours:
        async with drive(target, register) as (driven, proof):
            address = target if isinstance(target, str) else ""
            wanted = {k: v for k, v in wanted.items() if not k.startswith("launch.")}
            yield Boot(name, address, driven, proof, wanted, register)
        return
    async with (
        started(scenario, name, directory, cores) as (child, between),
        drive(child.address, register) as (driven, proof),
    ):
        # We started it with these settings; what it echoes itself counts for more.
        launched = {k: Evidence("launched", v) for k, v in wanted.items()}
        evidence = {**launched, **proof.evidence}
        proven = Proof(proof.kind, evidence, proof.registration)
        yield Boot(
            name, child.address, driven, proven, wanted, register, child, between
        )


async def booted(
    stack: AsyncExitStack,
    first: Mapping[str, CellPlan],
    targets: Mapping[str, str | Target],
    boot: Callable[[str, int], AbstractAsyncContextManager[Boot]],
) -> dict[str, Boot]:
    """Start and open one server for all that agree on its settings; return them by key.

    Args:
        stack: Closes them.
        first: A plan of each arm at each point, by key.
        targets: Of each of these, from `where`.
        boot: Boots, given a key of *first* and the number of the boot.
    """
    opened: dict[str, Boot] = {}
    found: dict[str, Boot] = {}
    for name, plan in first.items():
        target = targets[name]
        shared = key(plan.cell.scenario) if target == EMBEDDED else str(target)
        if shared not in opened:
            made = boot(name, len(opened))
            opened[shared] = await stack.enter_async_context(made)
        found[name] = opened[shared]
    return found


async def revived(boot: Boot, plan: CellPlan, models: tuple[Model, ...]) -> None:
    """Return once a server that was lost answers again, with its models.

    Ours is started once more, at the same address; one that is not ours is waited for.

    Args:
        boot: Its targets stay open.
        plan: Of any cell of the arms that share the boot.
        models: To register again: what has just started knows none.

    Raises:
        HostError: It was restarted before, does not start, or has no address.
        TargetError: It is not back within ``target.ready``.
    """
    if boot.child is not None:
        await boot.child.restart()
    if not boot.address:
        raise HostError("a target without an address cannot be opened again")
    async with driving(plan, models, boot.address, boot.register):
        pass


@asynccontextmanager
async def driving(
    plan: CellPlan, models: tuple[Model, ...], target: str | Target, register: str
) -> AsyncIterator[tuple[CallbackTarget, Proof]]:
    """Open the target in this process; close it at the end.

    Args:
        plan: Of any cell of the arms that share the boot.
        models: To register.
        target: Its address, or the object itself.
        register: ``id`` or ``weights``.

    Raises:
        TargetError: Nothing, or no Djinn, answers; or it refuses a model.
    """
    address = target if isinstance(target, str) else ""
    made = plan.target(plan.target_options) if isinstance(target, str) else target
    ready_ns = plan.cell.scenario.target.ready
    asked = TargetPlan(address, models, register, ready_ns)
    proof = await made.open(asked, _Clock())
    try:
        # Either kind, as the registry has checked; types cannot say so.
        yield as_callback(cast("AsyncTarget | CallbackTarget", made)), proof
    finally:
        with anyio.CancelScope(shield=True):
            await made.aclose()
