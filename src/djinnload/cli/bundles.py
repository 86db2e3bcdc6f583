"""The verbs that pack a run as one file, and repeat it."""

from functools import partial
from pathlib import Path

import click

from djinnload.cli import completions
from djinnload.cli.help import examples
from djinnload.cli.options import JSON, OUT, PROGRESS
from djinnload.cli.terminal import ended, watched

__all__ = ("bundle", "rerun")


@click.command(
    epilog=examples(
        "djinnload bundle results/qos_mix/20261124T225150Z-05f7 --out run.tar.zst"
    )
)
@click.argument(
    "directory", type=click.Path(path_type=Path), shell_complete=completions.runs
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Ends in .tar.gz or .tar.zst; default: <scenario>-<run>.tar.gz, here.",
)
@click.option(
    "--without",
    multiple=True,
    type=click.Choice(["samples"]),
    help="Leave this out: a repeat is then compared by its verdict alone.",
)
def bundle(*, directory: Path, out: Path | None, without: tuple[str, ...]) -> None:
    """Pack a results DIRECTORY as one file, to check and repeat.

    With scenario, manifests, samples, summaries, figures, RUNBOOK.md, the exact
    versions of all packages, and checksums. The same directory gives the same bytes. A
    directory that is not whole is refused.
    """
    from djinnload.bundles.packing import pack
    from djinnload.units import format_bytes

    made = pack(directory, out, without=without)
    click.echo(f"{made.path}: {made.files} files, {format_bytes(made.nbytes)}")
    for name in made.absent:
        click.echo(f"not in it: {name}, which the scenario reads; send it along")
    click.echo(f"repeat it with: djinnload rerun {made.path}")


@click.command(epilog=examples("djinnload rerun qos_mix-20261124T225150Z-05f7.tar.gz"))
@click.argument("bundle", type=click.Path(path_type=Path))
@OUT
@click.option(
    "--target", metavar="HOST:PORT", help="A running server; default: as it was."
)
@click.option(
    "--accept",
    multiple=True,
    metavar="CODE",
    shell_complete=completions.codes,
    help="A reason that shall not void; default: as it was.",
)
@click.option("--quiet", is_flag=True, help="Only what it came to, at the end.")
@PROGRESS
@JSON
def rerun(
    *,
    bundle: Path,
    out: Path | None,
    target: str | None,
    accept: tuple[str, ...],
    quiet: bool,
    style: str,
    json_to: str | None,
) -> int:
    """Repeat the run of BUNDLE, and compare.

    Of its scenario, seeds and rates. Checks every file first, and says which versions
    differ here. Schedule, inputs and weights have to be identical, the verdict the
    same; times may differ. See docs/bundles.md.

    \b
    Exit codes: 0 the same verdict · 1 another verdict · 2 bundle damaged, or
    schedule, inputs or weights differ · 3 could not run · 4 either run is void ·
    130 interrupted
    """  # noqa: D301 - click reads the control character
    from djinnload.bundles.rerunning import rerun as rerun_bundle
    from djinnload.report import ending

    result, found = watched(
        partial(rerun_bundle, bundle),
        quiet=quiet,
        style=style,
        out=out,
        target=target,
        accept=accept,
    )
    ended(
        result, lambda: ending.show_repeat(result, found, quiet=quiet, json_to=json_to)
    )
    return int(found["exit_code"])
