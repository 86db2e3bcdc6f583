"""What the original's baselines are here: arms whose behaviours are executed; pure."""

from collections.abc import Iterable
from typing import Any

from djinnload.errors import ScenarioError
from djinnload.legacy.models import span
from djinnload.legacy.source import Source, plain
from djinnload.scenarios.behaviours import PRESETS, Behaviours, problems

__all__ = ("arm", "arms", "comparison", "of_toggles", "preset")

_SCALED = "its numbers were another arm's, scaled by constants: here it is executed"
_TOGGLES = (
    "enable_phase_detection",
    "enable_stateful_caching",
    "enable_kv_persistence",
    "enable_plan_cache",
    "enable_skeletonization",
    "enable_vmu",
)
_SAME = {"full_djinn": "full"}
_METRICS = ("mean(latency)", "p50(latency)")


def arms(sources: Iterable[Source], population: str) -> list[dict[str, Any]]:
    """Return the arms of a list of baselines; all but the full one are not judged.

    Raises:
        ScenarioError: None of them can be executed.
    """
    every = list(sources)
    made = [found for each in every if (found := arm(each, population))]
    if not made:
        where = every[0].path if every else "baselines"
        raise ScenarioError(
            where, "no baseline can be executed, nothing is left to run"
        )
    return made


def arm(source: Source, population: str) -> dict[str, Any] | None:
    """Return the arm of a baseline; None: it cannot be executed, and is lost."""
    name = plain(source.take("name"))
    source.leave("a comment", "notes")
    kind = source.take("type")
    if kind in {"local", "local_synthetic"}:
        device = str(source.take("device", "cpu"))
        options = {"options": {"device": device}} if device != "cpu" else {}
        return _named(name) | {"target": {"use": "local", **options}}
    if kind == "scaling":
        source.leave(
            _SCALED,
            *("relative_to", "latency_scale", "latency_offset_ms"),
            *("input_scale", "output_scale"),
        )
        return preset(source, name, _SAME.get(name, name))
    if source.has("semantic_aware"):
        aware = bool(source.take("semantic_aware"))
        return preset(source, name, "full" if aware else "semantic_blind")
    config = source.into("server_config")
    config.leave("a server is always driven over its socket", "transport")
    made = preset(source, name, of_toggles(config))
    return made and made | _classed(config.into("qos"), population)


def of_toggles(config: Source) -> str:
    """Return the preset that the toggles say; all that are not said are on."""
    on = {key: bool(config.take(key, default=True)) for key in _TOGGLES}
    if not on.pop("enable_vmu"):
        return "full_without_vmu"
    wanted = {
        "state": "session" if on["enable_stateful_caching"] else "shipped",
        "result": "needed" if on["enable_skeletonization"] else "all",
        "plan": "cached" if on["enable_plan_cache"] else "per_call",
        "phases": "apart" if on["enable_phase_detection"] else "merged",
    }
    for name, found in PRESETS.items():
        if wanted == {key: found[key] for key in wanted} and "memory" not in found:
            return name
    raise ScenarioError(
        config.path, f"no arm does {wanted}; known are {', '.join(PRESETS)}"
    )


def comparison(made: Iterable[dict[str, Any]], wanted: str | None) -> dict[str, Any]:
    """Return ``[comparison]``, if there are two arms; *wanted* is the baseline."""
    names = [each["name"] for each in made]
    wanted = plain(wanted) if wanted else None
    if len(names) == 1:
        return {}
    baseline = wanted if wanted in names else names[0]
    return {"comparison": {"baseline": baseline, "metrics": list(_METRICS)}}


def preset(source: Source, name: str, wanted: str) -> dict[str, Any] | None:
    """Return the arm that does a preset; None: it cannot be executed, and is lost."""
    if wanted not in PRESETS:
        source.drop(f"nothing is known that would do {wanted!r}")
        return None
    for _, reason in problems(Behaviours(preset=wanted)):  # type: ignore[arg-type]
        source.drop(reason)
        return None
    return _named(name, judged=wanted == "full") | {"behaviours": {"preset": wanted}}


def _named(name: str, *, judged: bool = False) -> dict[str, Any]:
    return {"name": name} | ({} if judged else {"judged": False})


def _classed(qos: Source, population: str) -> dict[str, Any]:
    changes = {}
    if qos.has("qos_class"):
        changes[f"population.{population}.qos_class"] = qos.take("qos_class")
    if qos.has("deadline_ms"):
        deadline = span(qos.number("deadline_ms"))
        changes[f"population.{population}.deadline"] = deadline
    return {"set": changes} if changes else {}
