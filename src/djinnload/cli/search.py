"""The verb that looks for the highest load."""

from functools import partial
from pathlib import Path

import click

from djinnload.cli.help import examples
from djinnload.cli.options import (
    ACCEPT,
    ARM,
    DECLARE,
    DURATION,
    JSON,
    OUT,
    PROGRESS,
    SCENARIO,
    SEED,
    SET,
    TARGET,
    loaded,
    pair,
)
from djinnload.cli.terminal import ended, watched

__all__ = ("search",)


@click.command(epilog=examples("djinnload search search_smoke"))
@SCENARIO
@TARGET
@OUT
@ARM
@DURATION
@SEED
@SET
@ACCEPT
@DECLARE
@click.option("--quiet", is_flag=True, help="Only what was found, at the end.")
@PROGRESS
@JSON
def search(
    *,
    scenario: str,
    target: str | None,
    out: Path | None,
    arms: tuple[str, ...],
    duration: str | None,
    seed: int | None,
    changes: tuple[str, ...],
    accept: tuple[str, ...],
    declare: tuple[str, ...],
    quiet: bool,
    style: str,
    json_to: str | None,
) -> int:
    """Find the highest load at which SCENARIO meets its objectives.

    Its [search] says what is changed, and between which values: docs/search.md.

    \b
    Exit codes: 0 bracket found, or high met · 1 not even low meets them ·
    2 scenario or command wrong · 3 could not run · 4 void or undecided ·
    130 interrupted
    """  # noqa: D301 - click reads the control character
    asked = loaded(scenario, changes, arms=arms, duration=duration, seed=seed)
    declared = dict(pair(each, "--declare") for each in declare)
    from djinnload.report import ending
    from djinnload.search.driving import search as search_scenario

    result = watched(
        partial(search_scenario, asked),
        quiet=quiet,
        style=style,
        out=out,
        target=target,
        arms=arms or None,
        accept=accept,
        declare=declared,
    )
    return ended(
        result,
        lambda: ending.show_search(
            result.path, result.summary, quiet=quiet, json_to=json_to
        ),
    )
