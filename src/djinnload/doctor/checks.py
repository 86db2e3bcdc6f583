"""Preflight: what a run would trip over, as checks that pass, warn or fail.

A check is a pure function of what is known; `examined` gathers that and asks them all.
"""

from collections.abc import Callable, Iterator
from typing import Literal

from msgspec import Struct

from djinnload.doctor.facts import HostFacts
from djinnload.doctor.needs import Needs, Server

__all__ = ("CHECKS", "Check", "Report", "examined")

Status = Literal["pass", "warn", "fail"]

_GB = 1e9
_PYTHON = (3, 11)
#: Where nothing else is asked for, as Djinn's own guide has it.
_LEAST_GPU_GB = 10.0
_LEAST_DISK = 1_000_000_000
#: A row of samples, its probes, and the figures made from it.
_BYTES_A_REQUEST = 400
#: Files that are open beside the connections.
_FILES = 128
#: A closed port is not used again for so long.
_TIME_WAIT_S = 60
#: Of the cores' time that others take.
_LOAD_SHARE = 0.25
_PRESSURE_WARN, _PRESSURE_FAIL = 0.05, 0.25
_GOOD_CLOCKS = ("tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page")
_STEADY_GOVERNORS = ("performance",)
_ARENA = "GENIE_VMU_SESSION_ARENA_MB"
_MIN_FREE = "GENIE_EVAL_MIN_FREE_GB"
_ADDRESS = "GENIE_SERVER_ADDRESS"


class Check(Struct, frozen=True):
    """What was looked at, what came of it, and what to do unless it passed."""

    name: str
    status: Status
    said: str
    fix: str = ""


class Report(Struct, frozen=True):
    """All checks, in order; *ok* unless one failed."""

    scenario: str | None
    checks: tuple[Check, ...]
    ok: bool


Found = Iterator[Check]


def examined(host: HostFacts, needs: Needs | None) -> Report:
    """Return what all checks say.

    Args:
        host: This machine.
        needs: Of a scenario; None: only what any run needs is looked at.
    """
    checks = tuple(check for each in CHECKS for check in each(host, needs))
    ok = all(check.status != "fail" for check in checks)
    return Report(None if needs is None else needs.scenario, checks, ok)


def _judged(name: str, bad: Status | None, said: str, fix: str) -> Check:
    return Check(name, bad, said, fix) if bad else Check(name, "pass", said)


def _python(host: HostFacts, _: Needs | None) -> Found:
    said = "Python {}.{}".format(*host.python)
    fix = "use Python {}.{} or newer".format(*_PYTHON)
    yield _judged("python", "fail" if host.python < _PYTHON else None, said, fix)


def _packages(host: HostFacts, needs: Needs | None) -> Found:
    said = ", ".join(host.missing) + " missing" if host.missing else "all there"
    bad: Status | None = "fail" if host.missing else None
    yield _judged("packages", bad, said, "pip install djinnload again")
    if host.torch is None:
        wanted = needs is not None and needs.models
        bad = "fail" if wanted else "warn"
        fix = "pip install 'djinnload[models]'"
        yield Check("torch", bad, "torch or transformers missing", fix)
    else:
        yield Check("torch", "pass", f"torch {host.torch}")


def _models(host: HostFacts, needs: Needs | None) -> Found:
    if needs is None or not needs.models:
        return
    missing = [model.name for model in needs.models if not model.cached]
    said = f"{len(needs.models) - len(missing)} of {len(needs.models)} cached"
    said += f", not {', '.join(missing)}" if missing else ""
    fix = f"djinnload prime {needs.scenario}, else the run begins with making them"
    yield _judged("models", "warn" if missing else None, said, fix)
    nbytes = sum(model.nbytes for model in needs.models)
    said = f"{nbytes / _GB:.3g} GB of weights, {host.memory_free / _GB:.3g} GB free"
    bad: Status | None = "fail" if nbytes > host.memory_free else None
    yield _judged("memory", bad, said, "free some, or name smaller models")


def _address(host: HostFacts, needs: Needs | None) -> Found:
    exported = host.environment.get(_ADDRESS)
    if needs is None:
        said = f"{_ADDRESS}={exported}" if exported else f"{_ADDRESS} is not exported"
        more = "" if exported else ": runs use the embedded reference server"
        yield Check("address", "pass", said + more)
    elif needs.server.kind == "none":
        yield Check("address", "pass", "the target is no Djinn server")
    elif needs.server.kind != "remote":
        said = f"djinnload starts the server ({needs.server.kind})"
        bad: Status | None = "warn" if exported else None
        if bad:
            said += f", {_ADDRESS}={exported} is not used"
        yield _judged("address", bad, said, f"unset {_ADDRESS}, or give --target")
    else:
        yield Check("address", "pass", f"{needs.server.address}")


def _server(_: HostFacts, needs: Needs | None) -> Found:
    if needs is None:
        return
    server = needs.server
    if server.error:
        fix = "start it, or correct the address or command; docs/real-djinn.md"
        yield Check("server", "fail", server.error, fix)
    elif server.kind == "remote":
        yield from _told(server)


def _told(server: Server) -> Found:
    yield Check("server", "pass", f"{server.name} answers at {server.address}")
    differ = {
        name: (wanted, server.said.get(name))
        for name, wanted in server.wanted.items()
        if name in server.said and server.said[name] != wanted
    }
    unknown = [name for name in server.wanted if name not in server.said]
    for name, (wanted, real) in differ.items():
        fix = "restart it so, or choose the arm that it is with --arm"
        yield Check("settings", "fail", f"{name} is {real}, wanted is {wanted}", fix)
    if unknown:
        said = f"it does not tell {', '.join(sorted(unknown))}"
        fix = "start it with them and vouch: --declare policy=qos"
        yield Check("settings", "warn", said, fix)
    if server.arms > 1 and server.differ:
        said = f"{server.arms} arms differ in {', '.join(server.differ)}"
        fix = "one server can be one of them: --arm NAME, or [target.launch]"
        yield Check("arms", "fail", said, fix)


def _arena(host: HostFacts, needs: Needs | None) -> Found:
    if needs is None or not needs.server.real_djinn:
        return
    value = needs.server.arena_mb or host.environment.get(_ARENA)
    fix = f"start the server with {_ARENA}=0: sessions that are cut off leak theirs"
    if value is None:
        yield Check("arena", "warn", "the server does not tell its session arena", fix)
    else:
        bad: Status | None = None if value.strip() == "0" else "fail"
        yield _judged("arena", bad, f"{_ARENA}={value}", fix)


def _directories(host: HostFacts, _: Needs | None) -> Found:
    for name, folder, fix in (
        ("results", host.out, "choose another --out"),
        ("cache", host.cache, "have DJINNLOAD_CACHE name another folder"),
    ):
        said = f"{folder.path}: {folder.error or 'writable'}"
        yield _judged(name, "fail" if folder.error else None, said, fix)


def _disk(host: HostFacts, needs: Needs | None) -> Found:
    free, wanted = host.out.free, _LEAST_DISK
    if needs is not None and needs.requests is not None:
        wanted += round(needs.requests) * _BYTES_A_REQUEST
    said = f"{free / _GB:.3g} GB free for results, {wanted / _GB:.3g} GB wanted"
    fix = "free some, or choose another --out"
    yield _judged("disk", "fail" if free < wanted else None, said, fix)


def _gpu(host: HostFacts, needs: Needs | None) -> Found:
    asked = host.environment.get(_MIN_FREE)
    try:
        least = _LEAST_GPU_GB if asked is None else float(asked)
    except ValueError:
        fix = "give a number of gigabytes"
        yield Check("free memory", "fail", f"{_MIN_FREE}={asked} is no number", fix)
        return
    uses = needs is not None and needs.gpu
    if host.gpus is None:
        bad: Status | None = "fail" if uses else None
        yield _judged("gpu", bad, "no NVIDIA GPU", 'set target.server.device = "cpu"')
        if asked is not None:
            said = f"{host.memory_free / _GB:.3g} GB free, {least:g} wanted"
            bad = "fail" if host.memory_free < least * _GB else None
            yield _judged("free memory", bad, said, f"free some, or lower {_MIN_FREE}")
        return
    for i, gpu in enumerate(host.gpus):
        said = (
            f"gpu{i} {gpu.name}: {gpu.free / _GB:.3g} of {gpu.total / _GB:.3g} GB free"
        )
        bad = ("fail" if uses else "warn") if gpu.free < least * _GB else None
        fix = f"end what uses it, or set {_MIN_FREE} lower than {least:g}"
        yield _judged("gpu", bad, said, fix)


def _network(_: HostFacts, needs: Needs | None) -> Found:
    if needs is None or needs.network is None:
        return
    said = needs.network or "can be set, by the kernel"
    fix = "as root, on a kernel that has it; or leave target.network out"
    yield _judged("network", "fail" if needs.network else None, said, fix)


def _logs(_: HostFacts, needs: Needs | None) -> Found:
    if needs is None or needs.server.kind == "none":
        return
    remote = needs.server.kind == "remote"
    said = "is elsewhere, djinnload keeps none" if remote else "kept with the run"
    fix = "keep the server's log beside the results"
    yield _judged("server log", "warn" if remote else None, said, fix)


def _governor(host: HostFacts, _: Needs | None) -> Found:
    governor = host.governor
    said = governor or "not told (a virtual machine seldom does)"
    bad: Status | None = "warn" if governor not in {None, *_STEADY_GOVERNORS} else None
    fix = "cpupower frequency-set -g performance"
    yield _judged("cpu governor", bad, said, fix)


def _load(host: HostFacts, _: Needs | None) -> Found:
    said = f"load average {host.load1:.2f} on {host.cores} cores"
    bad: Status | None = "warn" if host.load1 > _LOAD_SHARE * host.cores else None
    if host.pressure is not None:
        said += f", some process had no core {100 * host.pressure:.1f}% of 10 s"
        if host.pressure > _PRESSURE_WARN:
            bad = "fail" if host.pressure > _PRESSURE_FAIL else "warn"
    yield _judged("other load", bad, said, "end what else runs here, or wait")


def _clock(host: HostFacts, _: Needs | None) -> Found:
    source = host.clock_source
    bad: Status | None = "warn" if source not in _GOOD_CLOCKS else None
    fix = "boot with clocksource=tsc, if the machine's is stable: others are slow"
    yield _judged("clock source", bad, source or "not told", fix)
    said = "absolute, by timerfd" if host.linux else "no timerfd: sent later than due"
    yield _judged("timer", None if host.linux else "warn", said, "run on Linux")


def _ports(host: HostFacts, needs: Needs | None) -> Found:
    if host.ports is None:
        return
    rate = host.ports / _TIME_WAIT_S
    said = f"{host.ports:,} local ports, {host.time_wait or 0:,} in TIME_WAIT"
    fix = "widen net.ipv4.ip_local_port_range, or wait a minute"
    bad: Status | None = None
    if (host.time_wait or 0) > host.ports / 2:
        bad = "warn"
    if needs is not None and needs.max_in_flight > host.ports:
        said += f", {needs.max_in_flight:,} requests in flight"
        bad = "fail"
    elif needs is not None and needs.rate and needs.server.loopback:
        said += f"; {needs.rate:,.0f} connections/s"
        if host.reuse is False and needs.rate > rate:
            said += f", {rate:,.0f}/s can be had for more than a minute"
            fix, bad = "sysctl net.ipv4.tcp_tw_reuse=2", "fail"
    yield _judged("ports", bad, said, fix)


def _files(host: HostFacts, needs: Needs | None) -> Found:
    wanted = _FILES + (0 if needs is None else needs.max_in_flight)
    said = f"{host.nofile:,} may be open, {wanted:,} wanted"
    bad: Status | None = "fail" if host.nofile < wanted else None
    fix = f"ulimit -n {wanted}, or a lower scenario.max_in_flight"
    yield _judged("open files", bad, said, fix)


def _cores(host: HostFacts, needs: Needs | None) -> Found:
    workers = 1 if needs is None else needs.workers
    ours = needs is None or needs.server.kind in {"embedded", "launched"}
    said = f"{host.cores} cores for {workers} workers" + " and the server" * ours
    bad: Status | None = None
    if workers + ours > host.cores:
        bad = "fail" if workers > host.cores else "warn"
    yield _judged("cores", bad, said, "fewer --workers, or a server elsewhere")


CHECKS: tuple[Callable[[HostFacts, Needs | None], Found], ...] = (
    _python,
    _packages,
    _models,
    _address,
    _server,
    _arena,
    _directories,
    _disk,
    _gpu,
    _network,
    _logs,
    _governor,
    _load,
    _clock,
    _ports,
    _files,
    _cores,
)
