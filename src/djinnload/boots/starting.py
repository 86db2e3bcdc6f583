"""A server of ours, started: embedded or by command, in a network if it shall."""

from collections.abc import AsyncIterator, Collection
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from djinnload.boots import child as embedded_server
from djinnload.boots import hook as launch_hook
from djinnload.boots import network, settings
from djinnload.boots.child import Child
from djinnload.boots.network import Link
from djinnload.scenarios.load import Scenario

__all__ = ("started",)


@asynccontextmanager
async def started(
    scenario: Scenario, name: str, directory: Path, cores: Collection[int] | None
) -> AsyncIterator[tuple[Child, dict[str, Any] | None]]:
    """Run the server of a scenario; end it, and its network, at the end.

    Args:
        scenario: Its target has no address.
        name: Of the boot.
        directory: Of the run; gets the server's log.
        cores: That it has to keep to; None: any.

    Returns:
        The server, and what lies between it and us: see `network.measured`; None:
        nothing does.

    Raises:
        HostError: It did not start, or the network cannot be made.
        ScenarioError: There is no such command or directory.
    """
    wanted = scenario.target.network
    async with AsyncExitStack() as stack:
        if wanted is None:
            made = _child(scenario, name, directory, cores, None)
            yield await stack.enter_async_context(made), None
            return
        link = await stack.enter_async_context(network.linked(wanted))
        made = _child(scenario, name, directory, cores, link)
        child = await stack.enter_async_context(made)
        port = int(child.address.rpartition(":")[2])
        yield child, await network.measured(link, wanted, port)


def _child(
    scenario: Scenario,
    name: str,
    directory: Path,
    cores: Collection[int] | None,
    link: Link | None,
) -> AbstractAsyncContextManager[Child]:
    hook = scenario.target.launch
    if hook is None:
        log, ready_s = directory / f"server-{name}.log", scenario.target.ready / 1e9
        port = 0 if scenario.probes.vmu is None else launch_hook.free_port()
        told = settings.environment(scenario) | {settings.METRICS_PORT: str(port)}
        return embedded_server.embedded(
            told, log, ready_s=ready_s, cores=cores, link=link
        )
    stem, dot, suffix = hook.log.rpartition(".")
    log = directory / (f"{stem}-{name}.{suffix}" if dot else f"{suffix}-{name}")
    ports = iter(launch_hook.free_port, 0)
    host = launch_hook.HOST if link is None else link.address
    command = settings.command(scenario, name, directory, ports, host=host)
    return launch_hook.launched(command, log, cores=cores, link=link)
