"""What a scenario needs of the machine and of its server, before it is run."""

import math
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_address
from typing import Any, Literal

from msgspec import Struct

from djinnload.boots import network
from djinnload.boots import servers as boots
from djinnload.boots import settings as server_settings
from djinnload.boots.hook import missing
from djinnload.clock import monotonic_ns
from djinnload.describe import describe
from djinnload.errors import LocalProtocolError, TargetError
from djinnload.models.assets import BUILT_IN
from djinnload.scenarios.cells import cells
from djinnload.scenarios.load import Scenario
from djinnload.scenarios.schema import Launch
from djinnload.spi import Model, TargetPlan
from djinnload.targets.djinn import Djinn
from djinnload.targets.exchange import host_and_port

__all__ = ("Needs", "Server", "Wanted", "needs_of")

_PATIENCE_NS = 2_000_000_000
_REAL = "djinn.server"


class Wanted(Struct, frozen=True):
    """A model: whether its weights are made, and the bytes that they are."""

    name: str
    cached: bool
    nbytes: int


class Server(Struct, frozen=True, kw_only=True):
    """The server of a scenario.

    Attributes:
        kind: ``remote`` runs already; ``none``: the target is no Djinn server.
        address: ``host:port``; empty unless remote.
        name: What answers there.
        error: Why nothing answers, or cannot be started; empty: nothing is wrong.
        said: Settings that it told.
        wanted: Settings of the first arm.
        differ: Settings in which the chosen arms differ.
        arms: That are chosen, and need a server.
        real_djinn: Whether it is Djinn itself, as far as can be told.
        arena_mb: That we would start it with; None: not said.
    """

    kind: Literal["embedded", "launched", "remote", "none"]
    address: str = ""
    name: str = ""
    error: str = ""
    said: Mapping[str, Any] = {}
    wanted: Mapping[str, Any] = {}
    differ: tuple[str, ...] = ()
    arms: int = 1
    real_djinn: bool = False
    arena_mb: str | None = None

    @property
    def loopback(self) -> bool:
        """Whether it is on this machine, as far as its address tells."""
        parts = host_and_port(self.address)
        if parts is None or parts[0] == "localhost":
            return True
        try:
            return ip_address(parts[0]).is_loopback
        except ValueError:
            return False


class Needs(Struct, frozen=True, kw_only=True):
    """What a run takes.

    Attributes:
        requests: Of the whole run; None: it depends on the server.
        rate: Most requests due a second; None: likewise.
        gpu: Whether a GPU of this host is used.
        network: Why one that is wanted cannot be had; empty: it can; None: none is.
    """

    scenario: str
    models: tuple[Wanted, ...]
    server: Server
    workers: int
    max_in_flight: int
    requests: float | None
    rate: float | None
    gpu: bool
    network: str | None = None


async def needs_of(
    scenario: Scenario, arms: Sequence[str] | None, target: str | None
) -> Needs:
    """Return what a run of *scenario* would need; asks its server, if that runs.

    Args:
        scenario: Checked.
        arms: Of it; None: all.
        target: As ``--target``.

    Raises:
        ScenarioError: As `describe`, or the address is none.
    """
    told = describe(scenario, arms)
    order = cells(scenario, arms)
    chosen = {cell.arm: cell.scenario for cell in order}
    due = {
        key: (math.inf if None in counts else sum(counts), told.cell_s[key] or 0.0)
        for key, found in told.populations.items()
        for counts in [[_requests(e.sessions, e.requests) for e in found]]
    }
    total = sum(due[cell.variant if scenario.sweeps else cell.arm][0] for cell in order)
    # So many sessions come as fast as they are served, whatever that is.
    rate = max(n / seconds if seconds else math.inf for n, seconds in due.values())
    return Needs(
        scenario=scenario.scenario.name,
        models=tuple(_wanted(m) for m in told.models if m.name not in BUILT_IN),
        server=await _server(chosen, target),
        workers=scenario.scenario.workers,
        max_in_flight=scenario.scenario.max_in_flight,
        requests=None if math.isinf(total) else total,
        rate=None if math.isinf(rate) else rate,
        gpu=any(_on_gpu(each) for each in chosen.values()),
        network=_network(chosen.values()),
    )


def _network(chosen: Iterable[Scenario]) -> str | None:
    linked = [each for each in chosen if each.target.network is not None]
    return "; ".join(network.refusals(linked)) if linked else None


def _requests(sessions: float | None, each: int | None) -> float:
    return math.inf if sessions is None or each is None else sessions * each


def _wanted(model: Model) -> Wanted:
    from djinnload.models import build, families, weights

    numbers = sum(
        map(math.prod, build.shapes(model.architecture, model.config).values())
    )
    return Wanted(
        model.name, weights.ready(model), numbers * families.DTYPES[model.dtype]
    )


def _on_gpu(scenario: Scenario) -> bool:
    target, usual = scenario.target, os.environ.get("DJINNLOAD_SERVER_DEVICE")
    served = target.server.device or (usual if target.launch is None else None)
    devices = (served, scenario.verify.device)
    return any((device or "").startswith("cuda") for device in devices)


async def _server(chosen: Mapping[str, Scenario], target: str | None) -> Server:
    # Other targets, of some arms, have no server that could be asked.
    served = {k: each for k, each in chosen.items() if each.target.use == "djinn"}
    if not served:
        return Server(kind="none")
    first = next(iter(served.values()))
    where = boots.where(first, target)
    hook = first.target.launch
    if where == boots.EMBEDDED and hook is None:
        return Server(kind="embedded", name="the reference server")
    if where == boots.EMBEDDED and hook is not None:
        arena = hook.env.get("GENIE_VMU_SESSION_ARENA_MB")
        real = arena is not None or any(_REAL in word for word in hook.command)
        return Server(
            kind="launched",
            error=_unstartable(hook),
            real_djinn=real,
            arena_mb=arena,
        )
    address = str(where)
    wanted = {
        name: value
        for name, value in server_settings.settings(first).items()
        if not name.startswith("launch.")
    }
    differ = tuple(server_settings.differing(served.values()))
    name, said, error = await _asked(address)
    return Server(
        kind="remote",
        address=address,
        name=name,
        error=error,
        said=said,
        wanted=wanted,
        differ=differ,
        arms=len(served),
        real_djinn=not error and "djinnload" not in name,
    )


def _unstartable(hook: Launch) -> str:
    """Return why the command cannot be started, as far as that is seen."""
    word = hook.command[0].replace("{python}", sys.executable)
    return "" if "{" in word else missing(word, hook.env, hook.cwd)


async def _asked(address: str) -> tuple[str, dict[str, Any], str]:
    """Return the name that a server tells, its settings, and why it told none."""
    target = Djinn()
    try:
        plan = TargetPlan(address, (), "weights", _PATIENCE_NS)
        proof = await target.open(plan, _Clock())
    except TargetError as error:
        return "", {}, f"{address}: {error}"
    finally:
        await target.aclose()
    return proof.kind, {k: each.value for k, each in proof.evidence.items()}, ""


class _Clock:
    """Tells the time to a target that is opened, and nothing else."""

    now = staticmethod(monotonic_ns)

    def at(self, due_ns: int, callback: Any) -> None:
        raise LocalProtocolError("a target may not use Clock.at while it is opened")
