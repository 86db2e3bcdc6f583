"""Simulated runs folded as real ones are: engine → recorder → files → populations."""

from djinnload.recording.recorder import Recorder, read_samples
from djinnload.sample import Header, Labels
from djinnload.stats import populations as stats
from djinnload.testing import ScriptedTarget, population, simulate

MS = 1_000_000
S = 1_000 * MS


def manifest(schedule, names=("chat",), loop="open", **plan):
    begin = schedule.warmup_ns
    plans = {n: {"loop": loop, "objectives": [], "random": True} | plan for n in names}
    return {
        "point": "all",
        "arm": "default",
        "repeat": 0,
        "window": {"begin_ns": begin, "end_ns": begin + schedule.duration_ns},
        "populations": plans,
    }


def folded(directory, raw, described):
    """The populations that `djinnload report` would make of the rows *raw*."""
    names = tuple(described["populations"])
    labels = tuple(Labels(n, "test", "interactive", None) for n in names)
    with Recorder(directory, Header("all/a/r00", "all", "a", 0, labels)) as recorder:
        for row in raw:
            recorder.append(row)
    assert recorder.error is None
    return stats.populations(read_samples(directory), described)


def measured(directory, schedule, script=0, *, session=None, loop="open", **options):
    """Simulate one population; return its samples and the simulation."""
    servers, stalls = options.pop("servers", 0), options.pop("stalls", ())
    plan = options.pop("plan", {})
    made = (population(**({"session": session} if session else {}), **plan),)
    found = simulate(
        made,
        schedule,
        lambda clock: ScriptedTarget(clock, script, servers=servers, stalls=stalls),
        **options,
    )
    assert found.engine.error is None
    return folded(directory, found.raw, manifest(schedule, loop=loop))["chat"], found
