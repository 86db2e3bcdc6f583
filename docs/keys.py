"""Writes keys.md, every key of a scenario, from the Structs: ``python docs/keys.py``."""

import re
from collections.abc import Iterator
from pathlib import Path

from djinnload import registry
from djinnload.options import described
from djinnload.scenarios import behaviours, experiment, length, network, population
from djinnload.scenarios import schema as tables

PAGE = Path(__file__).with_name("keys.md")
HEAD = """# Every key of a scenario

Made of the source by `python docs/keys.py`, and held against it by a test; the same is in the schema that [editors](editors.md) read. [scenario.md](scenario.md) explains how keys go together. A default of – means that it is not given.
"""
TABLES = {
    "Top level": tables.Document,
    "`[scenario]`": tables.Run,
    "`warmup = { … }`": length.WarmupSessions,
    "`duration = { … }`": length.Sessions,
    "`[calibrate]`": tables.Calibrate,
    "`[target]`": tables.Target,
    "`[target.server]`": tables.Server,
    "`[target.server] shares`": tables.Shares,
    "`[target.launch]`": tables.Launch,
    "`target.network`": network.Network,
    "`[[population]]`": population.Population,
    "`users = [{ … }]`, a ramp": population.UserRamp,
    "`users = [{ … }]`, a stage": population.UserStage,
    '`think = { distribution = "constant" }`': population.Constant,
    '`think = { distribution = "exponential" }`': population.Exponential,
    '`think = { distribution = "lognormal" }`': population.Lognormal,
    '`think = { distribution = "uniform" }`': population.Uniform,
    "`[[sweep]]`": tables.Sweep,
    "`sweep.points`": tables.NamedPoint,
    "`[[arm]]`": tables.Arm,
    "`behaviours`": behaviours.Behaviours,
    "`[comparison]`": tables.Comparison,
    "`[[claim]]`": experiment.Claim,
    "`[search]`": tables.Search,
    "`verify`": tables.Verify,
    "`probes`": tables.Probes,
}
PLUGINS = {
    registry.ARRIVALS: ("Arrival processes", 'arrival = {{ process = "{}" }}'),
    registry.WORKLOADS: ("Workloads", 'workload = {{ use = "{}" }}'),
    registry.TARGETS: ("Targets", 'target = {{ use = "{}", options = {{ … }} }}'),
}


def page() -> str:
    """Return the whole page."""
    return "\n".join([HEAD, *_grammar(), *_plugins()])


def _grammar() -> Iterator[str]:
    for title, kind in TABLES.items():
        said = " ".join((kind.__doc__ or "").partition("\n\n")[0].split())
        said = re.sub(r"^``.*?``: ", "", said).replace("``", "`")
        yield f"## {title}\n\n{said[0].upper()}{said[1:]}\n"
        yield _table(kind)


def _plugins() -> Iterator[str]:
    for group, (title, usage) in PLUGINS.items():
        yield f"## {title}\n"
        for entry in registry.entries(group):
            if entry.package != "djinnload":
                continue
            plugin = registry.find(group, entry.name, path=group)
            said = (plugin.__doc__ or "").strip().splitlines()[0].replace("``", "`")
            yield f"### `{usage.format(entry.name)}`\n\n{said}\n"
            yield _table(plugin.Options)


def _table(kind: type) -> str:
    settings = described(kind)
    if not settings:
        return "Nothing more to set.\n"
    rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for each in settings:
        default = f"`{each.default}`" if each.default else "required"
        default = default.replace("`none`", "–")
        said = each.description.replace("None:", "not given:")
        cells = (f"`{each.name}`", each.type, default, said)
        rows.append(f"| {' | '.join(_escaped(cell) for cell in cells)} |")
    return "\n".join([*rows, ""])


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
