"""Options that several verbs share, and the scenario that they ask for."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from djinnload.cli import completions
from djinnload.errors import ScenarioError

__all__ = (
    "ACCEPT",
    "ARM",
    "DECLARE",
    "DURATION",
    "EXPORT",
    "HTML",
    "JSON",
    "OUT",
    "PROGRESS",
    "REPEATS",
    "SCENARIO",
    "SEED",
    "SET",
    "TARGET",
    "WORKERS",
    "YES_LONG",
    "exported",
    "loaded",
    "pair",
    "refuse_exports",
)

SCENARIO = click.argument("scenario", shell_complete=completions.scenarios)
TARGET = click.option(
    "--target", metavar="HOST:PORT", help="A running server; default: one is started."
)
OUT = click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="For results; default: results.",
)
ARM = click.option(
    "--arm",
    "arms",
    multiple=True,
    metavar="NAME",
    shell_complete=completions.arms,
    help="Only this arm; repeatable.",
)
ACCEPT = click.option(
    "--accept",
    multiple=True,
    metavar="CODE",
    shell_complete=completions.codes,
    help="A reason, such as LATE, that shall not void; is recorded; repeatable.",
)
DECLARE = click.option(
    "--declare",
    multiple=True,
    metavar="KEY=VALUE",
    help="A setting of the server that you vouch for, as policy=qos; repeatable.",
)
SET = click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="PATH=VALUE",
    shell_complete=completions.changes,
    help="Change the scenario, as population.chat.users=8; repeatable.",
)
DURATION = click.option(
    "--duration", metavar="D", help="Of each cell's measure, such as 30s."
)
REPEATS = click.option(
    "--repeats", type=click.IntRange(1, 99), metavar="N", help="Of every arm."
)
WORKERS = click.option(
    "--workers", type=int, metavar="N", help="Processes that share the load."
)
YES_LONG = click.option(
    "--yes-long",
    is_flag=True,
    help="Also if an arm sends weights and state for over 30 minutes.",
)
SEED = click.option(
    "--seed", type=int, metavar="N", help="Of schedule, inputs and weights."
)
PROGRESS = click.option(
    "--progress",
    "style",
    type=click.Choice(["auto", "lines", "json", "none"]),
    default="auto",
    show_default=True,
    help="On stderr, while it runs; auto: a dashboard on a terminal, else lines.",
)


def _writable(
    _ctx: click.Context, _parameter: click.Parameter, value: str | None
) -> str | None:
    """Refuse what could not be written, before there is something to write."""
    if value is not None and (Path(value).is_dir() or not Path(value).parent.is_dir()):
        raise click.BadParameter(f"{value!r} is no file in a folder that there is")
    return value


JSON = click.option(
    "--json",
    "json_to",
    metavar="FILE",
    callback=_writable,
    help="Write the result there; - is stdout.",
)
HTML = click.option(
    "--html",
    "html_to",
    metavar="FILE",
    callback=_writable,
    help="Write it there as a page: figures, numbers of both sides.",
)

EXPORT = click.option(
    "--export",
    "exports",
    multiple=True,
    type=click.Choice(["openmetrics", "csv", "parquet", "legacy"]),
    help="Also write it so, to export/, or legacy/ (the original's); repeatable.",
)


def refuse_exports(exports: Sequence[str], scenario: Any) -> None:
    """Raise ScenarioError, before a run, if it could not be exported so."""
    if "legacy" in exports:
        from djinnload.legacy.exporting import refuse

        refuse(scenario.document)
    if "openmetrics" in exports:
        from djinnload.report.exports.openmetrics import refuse as refuse_text

        refuse_text()


def exported(directory: Path, exports: Sequence[str], *, quiet: bool) -> None:
    """Write what ``--export`` names of a run's directory, and say where."""
    from djinnload.legacy import exporting
    from djinnload.report.exports import formats

    for name in dict.fromkeys(exports):
        legacy = name == "legacy"
        made = (
            exporting.export(directory) if legacy else formats.export(directory, name)
        )
        for path in made:
            if not quiet:
                click.echo(f"{name}:  {path}")


def loaded(
    source: Any,
    changes: Sequence[str],
    *,
    arms: Sequence[str] = (),
    **given: str | int | None,
) -> Any:
    """Return the scenario with everything that the options change in it.

    Args:
        source: A path, a name, or a scenario that is loaded.
        changes: Of ``--set``.
        arms: That are asked for; none: all.
        **given: Of ``--duration``, ``--repeats``, ``--seed``; None: not given.

    Raises:
        ScenarioError: It is wrong, or a change reaches no arm that is asked for.
    """
    from djinnload.scenarios.load import Scenario, load, parse_set

    scenario = source if isinstance(source, Scenario) else load(source)
    short = {f"scenario.{k}": v for k, v in given.items() if v is not None}
    wanted = short | dict(parse_set(change) for change in changes)
    if not wanted:
        return scenario
    made = scenario.replace(wanted)
    if arms:
        _refuse_unreached(made, wanted, arms)
    return made


def _refuse_unreached(
    scenario: Any, changed: Iterable[str], arms: Sequence[str]
) -> None:
    from djinnload.scenarios import paths
    from djinnload.scenarios.cells import cells

    chosen = [cell.scenario.document for cell in cells(scenario, arms)]
    for path in changed:
        if not any(paths.exists(document, path) for document in chosen):
            names = ", ".join(arms)
            reason = f"{path} is unset in {names}: name an arm that has it, or leave it"
            raise ScenarioError("--set", reason)


def pair(text: str, option: str) -> tuple[str, str]:
    """Return KEY and VALUE of an option that takes both."""
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise ScenarioError(option, f"{text!r} should be KEY=VALUE")
    return key, value
