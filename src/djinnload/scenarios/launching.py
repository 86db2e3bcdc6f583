"""``[target.launch]``: what its placeholders mean, what can be wrong with them; pure.

A command and its environment say ``{port}``, ``{qos}`` and so on; each boot fills in
its own values.
"""

import re
from collections.abc import Iterator, Mapping

import msgspec

from djinnload.errors import nearest
from djinnload.scenarios.schema import Launch, Target

__all__ = ("PLACES", "filled", "problems", "used")

#: What each boot is given.
PLACES = ("boot", "dir", "host", "metrics_port", "port", "python")
#: Placeholder → the key of ``[target.server]`` that it says.
SETTINGS: Mapping[str, str] = {
    "qos": "policy",
    "escalation_ms": "escalation_delay",
} | {
    name: name
    for name in (
        "policy",
        "slots",
        "shares",
        "default_class",
        "admission_limit",
        "queue_limit",
        "threads",
        "nice",
        "device",
    )
}

_PLACE = re.compile(r"\{([a-z_]+)\}")


def used(launch: Launch) -> set[str]:
    """Return the placeholders of command and environment."""
    texts = (*launch.command, *launch.env.values())
    return {name for text in texts for name in _PLACE.findall(text)}


def filled(text: str, values: Mapping[str, str]) -> str:
    """Return *text* with each placeholder's value instead of it."""
    return _PLACE.sub(lambda found: values[found[1]], text)


def problems(target: Target) -> Iterator[tuple[str, str]]:
    """Yield (path, reason) of what is wrong with a server that is to be launched."""
    launch = target.launch
    if launch is None:
        return
    if target.address is not None:
        reason = "the server is launched on a free port, leave one of the two out"
        yield "$.target.address", reason
    if "/" in launch.log or launch.log in {".", ".."}:
        yield "$.target.launch.log", "is a file in the run directory, no path"
    names = used(launch)
    for place, text in _texts(launch):
        for name in _PLACE.findall(text):
            if name not in PLACES and name not in SETTINGS:
                yield f"$.target.launch.{place}", _unknown(name)
    if "port" not in names:
        reason = "says {port} nowhere, nor does env: how is the server told its port?"
        yield "$.target.launch.command", reason
    yield from _settings(target, names)


def _texts(launch: Launch) -> Iterator[tuple[str, str]]:
    yield from ((f"command[{i}]", text) for i, text in enumerate(launch.command))
    yield from ((f"env.{name}", text) for name, text in launch.env.items())


def _unknown(name: str) -> str:
    known = sorted((*PLACES, *SETTINGS))
    near = nearest(name, known)
    hint = f", did you mean {{{near}}}?" if near else ""
    listed = ", ".join(f"{{{each}}}" for each in known)
    return f"{{{name}}} means nothing{hint} (there is: {listed})"


def _settings(target: Target, names: set[str]) -> Iterator[tuple[str, str]]:
    given = {
        name
        for name, value in msgspec.structs.asdict(target.server).items()
        if value is not None
    }
    said = {SETTINGS[name] for name in names & SETTINGS.keys()}
    for setting in sorted(given - said):
        places = [f"{{{name}}}" for name, of in SETTINGS.items() if of == setting]
        reason = (
            f"the launched server would never know: say {' or '.join(places)} in "
            "target.launch's command or env, or leave it out"
        )
        yield f"$.target.server.{setting}", reason
    for setting in sorted(said - given):
        place = next(name for name in sorted(names) if SETTINGS.get(name) == setting)
        reason = f"is not given, but target.launch says {{{place}}}"
        yield f"$.target.server.{setting}", reason
    if "qos" in names and target.server.policy == "fcfs":
        reason = (
            "{qos} is true or false, which a Djinn server takes for qos and none; it "
            'has no fcfs, so say policy = "none"'
        )
        yield "$.target.server.policy", reason
