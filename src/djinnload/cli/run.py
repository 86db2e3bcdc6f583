"""The verbs that take a scenario: run it, or check it."""

from functools import partial
from pathlib import Path
from typing import Any

import click

from djinnload.cli import completions
from djinnload.cli.help import examples
from djinnload.cli.metrics import METRICS
from djinnload.cli.options import (
    ACCEPT,
    ARM,
    DECLARE,
    DURATION,
    EXPORT,
    JSON,
    OUT,
    PROGRESS,
    REPEATS,
    SCENARIO,
    SEED,
    SET,
    TARGET,
    WORKERS,
    YES_LONG,
    exported,
    loaded,
    pair,
    refuse_exports,
)
from djinnload.cli.terminal import ended, watched

__all__ = ("check", "run")


@click.command(
    epilog=examples(
        "djinnload run quick",
        "djinnload run chat.toml --set population.chat.arrival.rate=40/s",
        "djinnload run qos_mix --target HOST:5556 --arm qos --declare policy=qos",
        "djinnload run --resume results/qos_mix/20261124T225150Z-05f7",
    )
)
@click.argument("scenario", required=False, shell_complete=completions.scenarios)
@TARGET
@OUT
@ARM
@DURATION
@REPEATS
@SEED
@WORKERS
@SET
@ACCEPT
@DECLARE
@click.option(
    "--resume",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Do what the run of DIR lacks, and nothing else; SCENARIO is not needed.",
)
@YES_LONG
@EXPORT
@click.option("--quiet", is_flag=True, help="Only the verdict, at the end.")
@PROGRESS
@METRICS
@JSON
def run(
    *,
    scenario: str | None,
    target: str | None,
    out: Path | None,
    arms: tuple[str, ...],
    duration: str | None,
    repeats: int | None,
    seed: int | None,
    workers: int | None,
    changes: tuple[str, ...],
    accept: tuple[str, ...],
    declare: tuple[str, ...],
    resume: Path | None,
    yes_long: bool,
    exports: tuple[str, ...],
    quiet: bool,
    style: str,
    metrics: tuple[str, int] | None,
    json_to: str | None,
) -> int:
    """Run SCENARIO to its verdict, and write a report.

    SCENARIO is a TOML file, or the name of one that ships (`djinnload scenarios`). Its
    server is started here unless --target, or the scenario, names one.

    \b
    Exit codes: 0 pass · 1 an objective failed · 2 scenario or command wrong ·
    3 could not run · 4 void, cannot be trusted · 130 interrupted
    """  # noqa: D301 - click reads the control character
    declared = dict(pair(each, "--declare") for each in declare)
    source: Any = scenario
    if resume is not None:
        from djinnload import resuming

        before = resuming.asked(resume, scenario)
        source = before.scenario
        arms, accept = arms or tuple(before.arms), accept or tuple(before.accept)
        declared = declared or before.declare
    elif scenario is None:
        raise click.UsageError("Missing argument 'SCENARIO'.")
    given = {"duration": duration, "repeats": repeats, "seed": seed}
    asked = loaded(source, changes, arms=arms, **given)
    refuse_exports(exports, asked)
    if not (yes_long or resume):
        from djinnload.describe import refuse_long

        refuse_long(asked, arms or None)
    from djinnload.report import ending
    from djinnload.runner import run as run_scenario

    result = watched(
        partial(run_scenario, asked),
        quiet=quiet,
        style=style,
        metrics=metrics,
        out=out,
        target=target,
        arms=arms or None,
        workers=workers,
        accept=accept,
        declare=declared,
        resume=resume,
    )

    def show() -> None:
        ending.show(result.path, result.summary, quiet=quiet, json_to=json_to)
        exported(result.path, exports, quiet=quiet or json_to == "-")

    return ended(result, show)


@click.command(
    epilog=examples(
        "djinnload check chat.toml",
        "djinnload check qos_mix --arm qos --set calibrate.capacity=60/s",
    )
)
@SCENARIO
@ARM
@DURATION
@REPEATS
@SEED
@SET
@YES_LONG
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def check(
    *,
    scenario: str,
    arms: tuple[str, ...],
    duration: str | None,
    repeats: int | None,
    seed: int | None,
    changes: tuple[str, ...],
    yes_long: bool,
    as_json: bool,
) -> None:
    """Validate SCENARIO and print what a run would do.

    Cells, arrivals, requests, bytes, time and models; nothing is opened. Rates that are
    parts of capacity stay as they are, for nothing is measured.
    """
    import msgspec

    from djinnload.boots import network
    from djinnload.describe import describe, refuse_long
    from djinnload.scenarios.cells import cells

    given = {"duration": duration, "repeats": repeats, "seed": seed}
    asked = loaded(scenario, changes, arms=arms, **given)
    found = describe(asked, arms=arms or None)
    network.refuse(cell.scenario for cell in cells(asked, arms or None))
    if as_json:
        click.echo(msgspec.json.encode(found).decode())
    else:
        from djinnload.report import plan_text

        plan_text.show_plan(found)
    if not yes_long:
        refuse_long(asked, told=found)
