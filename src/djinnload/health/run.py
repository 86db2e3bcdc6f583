"""Rules over all cells of a run: calibration, proof, contention.

UNEQUAL is in `health_work`; UNDECIDED is `objective.undecided`, as it needs the
decisions alone.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import structs

from djinnload.findings import Finding, Found, accept, note, void
from djinnload.health.work import unequal
from djinnload.units import MS

if TYPE_CHECKING:
    from djinnload.health.cell import CellEvidence
    from djinnload.stats.populations import PopulationSamples

__all__ = (
    "calibration",
    "generator_limited",
    "judge_run",
    "no_contention",
    "unproven",
)

CALIBRATION_SHARE = 0.25
CONTENDED = 1.2
#: What a server echoes for a behaviour that a request had no use for, such as state
#: where there is none; targets see to it that it is not said of others.
NOT_APPLICABLE = "none"
#: A comparison needs contention only if its arms differ in one of these.
POLICIES = ("policy",)


def judge_run(
    cells: "Sequence[CellEvidence]",
    comparison: Mapping[str, Any] | None,
    findings: Iterable[Finding] = (),
    *,
    accepted: Collection[str] = (),
) -> tuple[Finding, ...]:
    """Return what the rules over all cells found.

    Args:
        cells: Every complete cell.
        comparison: ``comparison`` of the root manifest; None: arms are not compared.
        findings: What `health.judge_cell` found in all cells.
        accepted: Codes of ``--accept``.
    """
    found = list(calibration(next((c.calibration for c in cells), None)))
    found += unproven(cells, comparison)
    if comparison is not None:
        found += unequal(cells, comparison)
        found += no_contention(cells, comparison)
        found += generator_limited(findings)
    return accept(found, accepted)


def calibration(document: Mapping[str, Any] | None) -> Found:
    """CALIBRATION: the capacity that the rates were made from did not hold still.

    Args:
        document: calibration.json; None or pinned: nothing was calibrated, no finding.
    """
    if document is None or document.get("pinned"):
        return
    seen = {
        "varied between blocks": document.get("spread"),
        "drifted from start to end": (document.get("end") or {}).get("drift"),
    }
    for what, value in seen.items():
        if value is not None and abs(value) > CALIBRATION_SHARE:
            yield void(
                "CALIBRATION",
                f"capacity {what} by {100 * abs(value):.0f}%, "
                f"{100 * CALIBRATION_SHARE:.0f}% may be; calibrate longer, free the "
                "host, or pin the capacity",
                value,
            )


def unproven(
    cells: "Sequence[CellEvidence]", comparison: Mapping[str, Any] | None
) -> Found:
    """UNPROVEN: a setting in which arms differ has no proof, or a reply denies one.

    A setting that every echo confirms is proven even where no evidence is written. What
    the server denies voids an arm alone too: it is not what its name says; and so does
    a behaviour that nothing proves. One finding for each arm and setting.
    """
    differs = (comparison or {}).get("differs", ())
    proofs = [cell.manifest.get("proof") or {} for cell in cells]
    wanted = [name for proof in proofs for name in proof.get("settings") or ()]
    for setting in dict.fromkeys([*differs, *wanted]):
        faults: dict[str, str] = {}
        for cell, proof in zip(cells, proofs, strict=True):
            fault = _denied(proof, setting)
            asked = setting in (cell.manifest.get("behaviours") or ())
            if not fault and (asked or setting in differs):
                fault = _missing(proof, setting)
            if fault:
                faults.setdefault(str(cell.manifest.get("arm")), fault)
        for arm, fault in faults.items():
            yield void(
                "UNPROVEN",
                f"arm {arm}: {setting} {fault}; use a server that echoes it, let "
                f"djinnload launch it, or give --declare {setting}=VALUE",
                0.0,
            )


def _denied(proof: Mapping[str, Any], setting: str) -> str:
    """Return how the server, or the user's word, contradicts *setting*; else empty."""
    wanted = _wanted(proof, setting)
    evidence = (proof.get("evidence") or {}).get(setting) or {}
    for value in (*_echoed(proof, setting), evidence.get("value")):
        if value is None or value == NOT_APPLICABLE:
            continue
        if wanted is not None and value != wanted:
            return f"should be {wanted!r}, but the server's is {value!r}"
    return ""


def _missing(proof: Mapping[str, Any], setting: str) -> str:
    """Return that nothing proves *setting*; empty if something does."""
    evidence = (proof.get("evidence") or {}).get(setting) or {}
    echoed = _echoed(proof, setting)
    confirmed = bool(echoed) and None not in echoed
    if evidence.get("how", "none") != "none":
        return ""
    return "" if confirmed and _wanted(proof, setting) is not None else "has no proof"


def _wanted(proof: Mapping[str, Any], setting: str) -> Any:
    found = _lookup(proof.get("settings") or {}, setting)
    if found is None:
        return ((proof.get("evidence") or {}).get(setting) or {}).get("value")
    return found


def _echoed(proof: Mapping[str, Any], setting: str) -> list[Any]:
    return [_lookup(e.get("value") or {}, setting) for e in proof.get("echoes") or ()]


def _lookup(document: Mapping[str, Any], setting: str) -> Any:
    """Return a setting by name, by dotted path, or among the behaviours."""
    if setting in document:
        return document[setting]
    at: Any = document
    for part in setting.split("."):
        at = at.get(part) if isinstance(at, Mapping) else None
    if at is None and isinstance(inner := document.get("behaviours"), Mapping):
        return inner.get(setting)
    return at


def no_contention(
    cells: "Sequence[CellEvidence]", comparison: Mapping[str, Any]
) -> Found:
    """NO_CONTENTION: in the baseline arm nobody had to wait, so no policy could matter.

    A class is contended if its requests took at least 1.2 × what they take without
    waiting: the server's word (wait ÷ exec) where it has a queue, else their service
    by that with one user alone. A host at rest is slower than one in a closed loop (its
    caches are cold, its cores asleep), so the latter alone sees waiting where none is.
    At a point where no compared class is, the comparison is void. Where some are, it
    stands: a policy trades one class against another, and a class that it shields from
    all waiting (strict priority, as baseline too) is a result. Those that are not
    contended are named in the finding ``uncontended``.
    """
    if not set(POLICIES) & set(comparison.get("differs", ())):
        return
    points: dict[str, list[CellEvidence]] = {}
    for cell in cells:
        if cell.manifest.get("arm") == comparison.get("baseline"):
            points.setdefault(str(cell.manifest.get("point", "all")), []).append(cell)
    for point, baseline in points.items():
        yield from _contention(point, baseline)


def _contention(point: str, baseline: "Sequence[CellEvidence]") -> Found:
    ratios = dict(_ratios(baseline))
    if not ratios:
        yield note(
            "contention-unknown",
            f"{point}: NO_CONTENTION does not apply, no service with one user alone "
            "was measured; calibrate to know whether a policy could matter",
            0.0,
        )
    idle = {name: ratio for name, ratio in ratios.items() if ratio < CONTENDED}
    listed = ", ".join(f"{name} {ratio:.2f} ×" for name, ratio in idle.items())
    if idle and len(idle) == len(ratios):
        found = void(
            "NO_CONTENTION",
            f"{point}: in the baseline arm requests took {listed} what they take "
            f"without waiting, {CONTENDED} × at least shows contention; raise the "
            "load, as no policy can matter where nobody waits",
            max(idle.values()),
        )
        yield structs.replace(found, point=point)
    for name, ratio in idle.items():
        if len(idle) < len(ratios):
            yield note(
                "uncontended",
                f"{point} {name}: in the baseline arm requests took {ratio:.2f} × what "
                "they take without waiting; it waited for nobody, expect no gain",
                ratio,
                name,
            )


def _ratios(baseline: "Sequence[CellEvidence]") -> Iterator[tuple[str, float]]:
    """Yield how many times as long as without waiting each took, where known."""
    names = dict.fromkeys(name for cell in baseline for name in cell.populations)
    for name in names:
        parts = [c.populations[name] for c in baseline if name in c.populations]
        alone_ns = _alone_ns(baseline[0].calibration, name, parts[0].qos_class)
        wait, run, service = (_mean_ns(parts, m) for m in ("queue", "exec", "service"))
        # Djinn without QoS says 0 always, and hides the wait in what it calls exec.
        if wait and run and _queues(baseline[0]):
            yield name, 1 + wait / run
        elif alone_ns and service is not None:
            yield name, service / alone_ns


def _mean_ns(parts: "Iterable[PopulationSamples]", metric: str) -> float | None:
    found = np.concatenate(
        [getattr(p.turns, f"{metric}_ns")[p.turns.ok] for p in parts]
    )
    found = found[np.isfinite(found)]
    return float(found.mean()) if len(found) else None


def _queues(cell: "CellEvidence") -> bool:
    """Return whether who waits does so in a queue, and not while it is served."""
    return _wanted(cell.manifest.get("proof") or {}, "policy") in {"qos", "fcfs"}


def _alone_ns(
    document: Mapping[str, Any] | None, population: str, qos_class: str
) -> float | None:
    solo = (document or {}).get("solo") or {}
    found = solo.get(population) or solo.get(qos_class) or {}
    service_ms = found.get("service_ms")
    return None if service_ms is None else float(service_ms) * MS


def generator_limited(findings: Iterable[Finding]) -> Found:
    """CPU over a comparison: void where a closed loop may have set the pace itself."""
    shares = [f.value or 0.0 for f in findings if f.code == "generator-limited"]
    if shares:
        yield void(
            "CPU",
            f"{len(shares)} of the compared cells are generator-limited (up to "
            f"{100 * max(shares):.0f}% of a core); use fewer users before "
            "you compare arms",
            max(shares),
        )
