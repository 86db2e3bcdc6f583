"""A YAML configuration of the original evaluation → a scenario file; what it lacks."""

import textwrap
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from djinnload.errors import HostError, ScenarioError
from djinnload.legacy import mixes, repeats
from djinnload.legacy.source import Source
from djinnload.scenarios.load import loads
from djinnload.scenarios.text import literal

__all__ = ("Imported", "grouped", "imported", "read")

Document = dict[str, Any]

_WIDTH = 88
#: Its kind → the keys that only it has, and what makes a scenario of it.
_KINDS: Mapping[str, tuple[tuple[str, ...], Callable[[Source], Document]]] = {
    "qos_mix": (("workload_mix",), mixes.qos_mix),
    "production_load_test": (("user_classes",), mixes.production),
    "load_sweep": (("load_levels",), mixes.load_sweep),
    "session_stress": (("session_workload",), repeats.session_stress),
    "ablation": (("configurations",), repeats.ablation),
    "generality": (("workload_groups", "baselines"), repeats.overhead),
    "overhead": (("workloads", "baselines"), repeats.overhead),
    "streaming": (("experiment", "io", "baselines"), repeats.streaming),
    "conversation": (("experiment", "baselines"), repeats.conversation),
    "baselines": (("defaults", "baselines"), repeats.baselines),
}


class Imported(Struct, frozen=True):
    """A configuration as a scenario.

    Attributes:
        kind: What it is: ``qos_mix`` …
        text: TOML that `djinnload.load` takes; says at its head what is lost.
        lost: (path and value, why) of everything that was not carried over.
    """

    kind: str
    text: str
    lost: tuple[tuple[str, str], ...]


def read(path: Path) -> Document:
    """Return what a YAML file says; nothing in it is executed.

    An ablation's ``workloads.yaml`` beside it is read with it.

    Raises:
        ScenarioError: It cannot be read, is no YAML, or no table.
        HostError: PyYAML is not installed.
    """
    found = _yaml(path)
    beside = path.with_name("workloads.yaml")
    if "run_plan" in found and "workloads" not in found and beside.is_file():
        found |= {"workloads": _yaml(beside).get("workloads") or {}}
    return found


def imported(document: Document, name: str) -> Imported:
    """Return the scenario of a configuration.

    Args:
        document: As the file has it.
        name: Of the file, for its first line and for errors.

    Raises:
        ScenarioError: It is none of the original's kinds, or a value makes no sense.
    """
    source = Source(document)
    fitting = (k for k, (keys, _) in _KINDS.items() if set(keys) <= document.keys())
    if (kind := next(fitting, None)) is None:
        known = ", ".join(_KINDS)
        reason = "is no configuration of the original evaluation that is known"
        raise ScenarioError(name, f"{reason}: {known}; its keys tell which it is")
    try:
        made = _KINDS[kind][1](source)
    except ScenarioError as error:
        raise ScenarioError(f"{name}: {error.path}", error.reason) from None
    except (TypeError, ValueError, AttributeError, StopIteration) as error:
        reason = f"a value has another type than in a {kind} ({error})"
        raise ScenarioError(name, reason) from error
    lost = tuple(source.lost())
    text = _text(made, _head(name, kind, lost))
    loads(text, path=name)  # what is made is a scenario, or this says why not
    return Imported(kind, text, lost)


def grouped(lost: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Return what is lost by the reason why."""
    found: dict[str, list[str]] = {}
    for what, why in lost:
        found.setdefault(why, []).append(what)
    return found


def _yaml(path: Path) -> Document:
    try:
        import yaml
    except ModuleNotFoundError:
        raise HostError(
            "reading YAML needs PyYAML; pip install 'djinnload[import]'"
        ) from None
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        reason = f"cannot be read: {error.strerror or error}"
        raise ScenarioError(str(path), reason) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = f"is no YAML: {' '.join(str(error).split())}"
        raise ScenarioError(str(path), reason) from None
    if not isinstance(found, dict):
        raise ScenarioError(str(path), "is no table of a configuration")
    return {str(key): value for key, value in found.items()}


def _head(name: str, kind: str, lost: tuple[tuple[str, str], ...]) -> str:
    lines = [f"Made of {name} ({kind} of the original evaluation) by djinnload import."]
    if lost:
        lines += ["", "Not carried over:"]
        lines += [f"- {why}: {'; '.join(what)}" for why, what in grouped(lost).items()]
    made = []
    for line in lines:
        made += textwrap.wrap(
            line,
            _WIDTH,
            initial_indent="# ",
            subsequent_indent="#   " if line.startswith("- ") else "# ",
            break_long_words=False,
        ) or ["#"]
    return "\n".join(made) + "\n"


def _text(document: Document, head: str) -> str:
    """Return a scenario file: single values first, then its tables in their order."""
    inline = {k: v for k, v in document.items() if k in {"verify", "probes"}}
    parts = ["".join(f"{k} = {literal(v)}\n" for k, v in inline.items())]
    for key, value in document.items():
        if key in inline:
            continue
        if isinstance(value, list):
            parts += [_table(f"[[{key}]]", each) for each in value]
        else:
            parts.append(_table(f"[{key}]", value))
    return "\n".join(part for part in (head, *parts) if part)


def _table(title: str, value: Document) -> str:
    lines = (f"{key} = {literal(each)}" for key, each in value.items())
    return "\n".join((title, *lines)) + "\n"
