"""The verbs that read results directories: report one, compare two."""

from pathlib import Path
from typing import Any

import click

from djinnload.cli import completions
from djinnload.cli.help import examples
from djinnload.cli.options import EXPORT, HTML, JSON, exported
from djinnload.cli.terminal import say_error
from djinnload.errors import ScenarioError

__all__ = ("compare", "report")


@click.command(
    epilog=examples("djinnload report results/qos_mix/20261124T225150Z-05f7")
)
@click.argument(
    "directory", type=click.Path(path_type=Path), shell_complete=completions.runs
)
@EXPORT
@JSON
def report(*, directory: Path, exports: tuple[str, ...], json_to: str | None) -> None:
    """Make summary and report of a results DIRECTORY again.

    Also of a run that was interrupted or killed: of what was measured until then.
    """
    if not (directory / "manifest.json").is_file():
        reason = "holds no manifest.json; give the directory that a run printed"
        raise ScenarioError(str(directory), reason)
    from djinnload.errors import HostError
    from djinnload.report import ending
    from djinnload.search.summary import FILE, fold
    from djinnload.summary.fold import fold_run

    searched = (directory / FILE).is_file()
    try:
        summary = fold_run(directory)
        if searched:
            summary = fold(directory, summary)
    except OSError as error:
        raise HostError(f"cannot write the summary: {error}") from error
    show = ending.show_search if searched else ending.show
    show(directory, summary, quiet=False, json_to=json_to)
    exported(directory, exports, quiet=json_to == "-")


@click.command(
    epilog=examples(
        "djinnload compare results/chat/NEW results/chat/OLD --metric 'p95(latency)'",
        "djinnload compare results/qos_mix/RUN --arms qos,fcfs --html compared.html",
    )
)
@click.argument(
    "runs",
    nargs=-1,
    metavar="NEW BASELINE | RUN --arms NEW,BASELINE",
    shell_complete=completions.runs,
)
@click.option("--arms", metavar="NEW,BASELINE", help="Two arms of one run.")
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    metavar="M",
    help="To compare, as p95(ttft); repeatable; default: the objectives'.",
)
@click.option(
    "--tolerance",
    default="5%",
    metavar="SHARE",
    show_default=True,
    help="By how much it may be worse.",
)
@click.option(
    "--allow",
    multiple=True,
    metavar="KEY",
    help="What may differ between the runs, as host; repeatable.",
)
@JSON
@HTML
def compare(
    *,
    runs: tuple[str, ...],
    json_to: str | None,
    html_to: str | None,
    **asked: Any,
) -> int:
    """Say whether a run is worse than a baseline.

    NEW and BASELINE are results directories: docs/compare.md.

    \b
    Exit codes: 0 no regression · 1 regression · 2 not comparable ·
    4 void or undecided
    """  # noqa: D301 - click reads the control character
    from djinnload import regressions
    from djinnload.report import ending
    from djinnload.summary.fold import read_run

    question = regressions.ask(len(runs), **asked)
    sides = [regressions.Run(run, *read_run(Path(run))) for run in runs]
    found = regressions.answer(question, sides)
    ending.show_decision(found, sides, json_to=json_to, html_to=html_to)
    for each in regressions.refusals(found):
        say_error(each)
    return int(found["exit_code"])
