"""What the reference server can be told, and the environment variables that say it.

Djinn's variables keep their names and their meaning; what Djinn has no variable for is
named ``DJINNLOAD_SERVER_…``. Reads neither the machine nor the clock; imports nothing
heavy.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from msgspec import Struct

from djinnload.errors import ScenarioError

__all__ = ("CLASSES", "MEMORIES", "POLICIES", "Settings")

#: Highest first.
CLASSES = ("realtime", "interactive", "batch")
POLICIES = ("qos", "fcfs", "none")
#: Of all devices; `djinnload.server.allocators` says which has which.
MEMORIES = ("arena", "torch", "malloc", "cudamalloc")

MIB = 1024 * 1024


class Settings(Struct, frozen=True, kw_only=True):
    """Everything that one reference server is told.

    Attributes:
        port: 0: any free one; the ready line says which.
        metrics_port: Of the diagnostics; 0: there are none.
        policy: ``qos``; ``fcfs``, one FIFO over the same slots; ``none``, no queue.
        slots: Requests that run at once under ``qos`` and ``fcfs``, ≥ 1.
        shares: Of the slots, by class; a class left out has none.
        default_class: Of a request that names no class, priority or deadline.
        escalation_delay_ns: A head that waited so long goes over its class's limit.
        admission_limit: Requests in the server, queued and running; more are refused.
        queue_limit: Requests waiting; more are refused.
        threads: CPU threads for all forwards together; 0: all cores but one.
        nice: Niceness; never lowered below what the process was started with.
        device: Of the models: ``cpu``, ``cuda``, ``cuda:1`` …
        memory: Allocator of requests that are allocations; see `allocators`. Empty:
            they are refused.
        memory_bytes: Of an arena, had at the start.
        max_frame_bytes: Of one message; a longer one is not read.
        max_buffer_bytes: Of all messages that are being received at the same time.
        max_sessions: KV sessions kept; the longest idle is forgotten first.
        max_session_bytes: Of all KV sessions together.
        exit_with_parent: End when standard input ends.
    """

    host: str = "127.0.0.1"
    port: int = 5556
    metrics_port: int = 0
    policy: str = "qos"
    slots: int = 4
    shares: tuple[tuple[str, float], ...] = (
        ("realtime", 0.3),
        ("interactive", 0.5),
        ("batch", 0.2),
    )
    default_class: str = "interactive"
    escalation_delay_ns: int = 800_000_000
    admission_limit: int = 10
    queue_limit: int = 100_000
    threads: int = 0
    nice: int = 19
    device: str = "cpu"
    memory: str = ""
    memory_bytes: int = 256 * MIB
    max_frame_bytes: int = 2048 * MIB
    max_buffer_bytes: int = 4096 * MIB
    max_sessions: int = 4096
    max_session_bytes: int = 1024 * MIB
    exit_with_parent: bool = False

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Settings":
        """Return the settings that *environment* gives; what is not there, defaults.

        An empty value counts as not there. ``GENIE_ENABLE_QOS`` means ``qos`` only if
        it is the word ``true`` (in any case), else ``none``, as Djinn has it;
        ``DJINNLOAD_SERVER_POLICY`` wins over it.

        Raises:
            ScenarioError: A value is not what its variable takes; names the variable.
        """
        found: dict[str, Any] = {}
        if enabled := environment.get("GENIE_ENABLE_QOS"):
            found["policy"] = "qos" if enabled.strip().lower() == "true" else "none"
        for name, field in _FIELDS.items():
            if text := environment.get(field.variable):
                found[name] = _read(field, text)
        return cls(**found)

    def environment(self) -> dict[str, str]:
        """Return the variables from which `from_environment` makes an equal value."""
        return {
            field.variable: field.write(getattr(self, name))
            for name, field in _FIELDS.items()
        }


class _Field(NamedTuple):
    variable: str
    read: Callable[[str], Any]
    write: Callable[[Any], str] = str


def _read(field: _Field, text: str) -> Any:
    try:
        return field.read(text.strip())
    except ValueError as error:
        raise ScenarioError(field.variable, f"{text!r} is not {error}") from None


def _whole(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise ValueError(f"a whole number from {low} to {high}")
        return value

    return read


def _one_of(*words: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text.lower() not in words:
            raise ValueError(f"one of {', '.join(words)}")
        return text.lower()

    return read


def _milliseconds(text: str) -> int:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1e9:  # noqa: PLR2004 - beyond 11 days it is a mistake
        raise ValueError("a number of milliseconds ≥ 0")
    return round(value * 1e6)


def _device(text: str) -> str:
    kind, _, index = text.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (index and not index.isdecimal()):
        raise ValueError("a device such as cpu, cuda or cuda:1")
    return text


def _shares(text: str) -> tuple[tuple[str, float], ...]:
    parts = [part.partition("=") for part in text.split(",") if part.strip()]
    found = {name.strip().lower(): _share(weight) for name, _, weight in parts}
    wrong = len(found) < len(parts) or set(found) - set(CLASSES)
    if wrong or not math.fsum(found.values()) > 0:
        example = "realtime=0.3,interactive=0.5,batch=0.2"
        raise ValueError(f"shares of {', '.join(CLASSES)}, such as {example}")
    return tuple((name, found[name]) for name in CLASSES if name in found)


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise ValueError("a list of shares ≥ 0")
    return value


_LARGE = 2**50
_OWN = "DJINNLOAD_SERVER_"
_FIELDS: dict[str, _Field] = {
    "host": _Field(f"{_OWN}HOST", str),
    "port": _Field("GENIE_DATA_PORT", _whole(0, 65535)),
    "metrics_port": _Field("GENIE_METRICS_PORT", _whole(0, 65535)),
    "policy": _Field(f"{_OWN}POLICY", _one_of(*POLICIES)),
    "slots": _Field("GENIE_QOS_MAX_CONCURRENCY", _whole(1, 4096)),
    "shares": _Field(
        "GENIE_QOS_CLASS_SHARES",
        _shares,
        lambda shares: ",".join(f"{name}={value!r}" for name, value in shares),
    ),
    "default_class": _Field("GENIE_QOS_DEFAULT_CLASS", _one_of(*CLASSES)),
    "escalation_delay_ns": _Field(
        "GENIE_QOS_ESCALATION_DELAY_MS", _milliseconds, lambda ns: repr(ns / 1e6)
    ),
    "admission_limit": _Field(f"{_OWN}ADMISSION_LIMIT", _whole(1, _LARGE)),
    "queue_limit": _Field(f"{_OWN}QUEUE_LIMIT", _whole(1, _LARGE)),
    "threads": _Field(f"{_OWN}THREADS", _whole(0, 4096)),
    "nice": _Field(f"{_OWN}NICE", _whole(-20, 19)),
    "device": _Field(f"{_OWN}DEVICE", _device),
    "memory": _Field(f"{_OWN}MEMORY", _one_of(*MEMORIES)),
    "memory_bytes": _Field(f"{_OWN}MEMORY_BYTES", _whole(1024, _LARGE)),
    "max_frame_bytes": _Field(f"{_OWN}MAX_FRAME_BYTES", _whole(1024, _LARGE)),
    "max_buffer_bytes": _Field(f"{_OWN}MAX_BUFFER_BYTES", _whole(1024, _LARGE)),
    "max_sessions": _Field(f"{_OWN}MAX_SESSIONS", _whole(1, _LARGE)),
    "max_session_bytes": _Field(f"{_OWN}MAX_SESSION_BYTES", _whole(1, _LARGE)),
    "exit_with_parent": _Field(
        f"{_OWN}EXIT_WITH_PARENT",
        lambda text: _one_of("true", "false")(text) == "true",
        lambda value: str(value).lower(),
    ),
}
