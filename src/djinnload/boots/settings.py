"""What a server that we start is told: as settings, variables, and a command; pure."""

import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from djinnload.boots import hook as launch_hook
from djinnload.probes.vmu import DEFAULT_PORT
from djinnload.scenarios import launching
from djinnload.scenarios.load import Scenario
from djinnload.units import SECOND

__all__ = (
    "METRICS_PORT",
    "command",
    "differing",
    "environment",
    "metrics_port",
    "path",
    "settings",
)

METRICS_PORT = "GENIE_METRICS_PORT"
_OWN = "DJINNLOAD_SERVER_"
#: `djinnload.server.settings` reads them; Djinn's own names where it has one.
_VARIABLES = {
    "policy": f"{_OWN}POLICY",
    "slots": "GENIE_QOS_MAX_CONCURRENCY",
    "shares": "GENIE_QOS_CLASS_SHARES",
    "default_class": "GENIE_QOS_DEFAULT_CLASS",
    "escalation_delay": "GENIE_QOS_ESCALATION_DELAY_MS",
    "admission_limit": f"{_OWN}ADMISSION_LIMIT",
    "queue_limit": f"{_OWN}QUEUE_LIMIT",
    "threads": f"{_OWN}THREADS",
    "nice": f"{_OWN}NICE",
    "device": f"{_OWN}DEVICE",
    "memory": f"{_OWN}MEMORY",
    "memory_bytes": f"{_OWN}MEMORY_BYTES",
    "max_buffer_bytes": f"{_OWN}MAX_BUFFER_BYTES",
    "max_session_bytes": f"{_OWN}MAX_SESSION_BYTES",
}


def settings(scenario: Scenario) -> dict[str, Any]:
    """Return the settings of ``[target.server]`` that the scenario gives.

    Plain data: durations in ns, shares by class. What ``[target.launch]`` adds is named
    ``launch.command``, ``launch.env`` (all of it: an arm may lack a variable) and
    ``launch.cwd``; what a network does, ``network.rate`` and so on.
    """
    given: dict[str, Any] = msgspec.to_builtins(scenario.target.server)
    shares = given.get("shares") or {}
    given["shares"] = {k: v for k, v in shares.items() if v is not None} or None
    given |= _launching(scenario)
    network = msgspec.to_builtins(scenario.target.network) or {}
    given |= {f"network.{name}": value for name, value in network.items()}
    return {name: value for name, value in given.items() if value is not None}


def _launching(scenario: Scenario) -> dict[str, Any]:
    hook = scenario.target.launch
    if hook is None:
        return {}
    return {
        "launch.command": list(hook.command),
        "launch.env": dict(hook.env),
        "launch.cwd": hook.cwd,
    }


def differing(scenarios: Iterable[Scenario]) -> list[str]:
    """Return the server settings that are not the same in all *scenarios*.

    Only what drives the same kind of target is held against each other: an arm of
    ``local`` has no server that could have or prove a setting.
    """
    kinds: dict[str, list[dict[str, Any]]] = {}
    for scenario in scenarios:
        kinds.setdefault(scenario.target.use, []).append(settings(scenario))
    return sorted(
        {
            name
            for found in kinds.values()
            for each in found
            for name in each
            if any(other.get(name) != each[name] for other in found)
        }
    )


def path(setting: str) -> str:
    """Return where in a scenario *setting* is."""
    own = setting.startswith(("launch.", "network."))
    return f"target.{'' if own else 'server.'}{setting}"


def environment(scenario: Scenario) -> dict[str, str]:
    """Return ``[target.server]`` as the environment of the embedded server."""
    found = settings(scenario).items()
    return {_VARIABLES[k]: _text(k, v) for k, v in found if k in _VARIABLES}


def metrics_port(environment: Mapping[str, str]) -> int:
    """Return the port of a Djinn server's diagnostics that has this *environment*."""
    text = environment.get(METRICS_PORT, "")
    return int(text) if text.isdecimal() else DEFAULT_PORT


def command(
    scenario: Scenario,
    boot: str,
    directory: Path,
    ports: Iterator[int],
    *,
    host: str = launch_hook.HOST,
) -> launch_hook.Command:
    """Return the scenario's command with every placeholder filled in.

    Args:
        scenario: Has ``[target.launch]``.
        boot: Name of the boot.
        directory: Of the run.
        ports: Free ones.
        host: To listen on.
    """
    hook = scenario.target.launch
    assert hook is not None  # noqa: S101 - the caller has looked
    names, given = launching.used(hook), settings(scenario)
    port = next(ports)
    found = next(ports) if "metrics_port" in names else metrics_port(hook.env)
    values = {
        "boot": boot,
        "dir": str(directory.resolve()),
        "host": host,
        "metrics_port": str(found),
        "port": str(port),
        "python": sys.executable,
        "qos": str(given.get("policy") == "qos").lower(),
    }
    for name, key in launching.SETTINGS.items():
        if key in given:
            values.setdefault(name, _text(key, given[key]))
    return launch_hook.Command(
        argv=tuple(launching.filled(text, values) for text in hook.command),
        env={k: launching.filled(text, values) for k, text in hook.env.items()},
        cwd=hook.cwd,
        port=port,
        metrics_port=found,
        ready_s=hook.ready / SECOND,
    )


def _text(name: str, value: Any) -> str:
    if name == "shares":
        return ",".join(f"{k}={v!r}" for k, v in value.items())
    if name == "escalation_delay":
        return repr(value / 1e6)
    return str(value)
