"""The verb that reads configurations of the original evaluation."""

from pathlib import Path

import click

from djinnload.cli.help import examples
from djinnload.errors import HostError, ScenarioError

__all__ = ("import_",)


@click.command(
    "import",
    epilog=examples("djinnload import qos_mix.yaml --out qos_mix.toml"),
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE.toml",
    help="A new file; default: print it.",
)
def import_(*, file: Path, out: Path | None) -> None:
    """Turn a YAML FILE of the original evaluation into a scenario.

    Its kind is told by its keys: qos_mix, production_load_test, load_sweep, baselines,
    streaming, conversation, ablation, session_stress, overhead, generality. What cannot
    be carried over is said, and why: docs/legacy.md.
    """
    from djinnload.legacy.importing import grouped, imported, read

    made = imported(read(file), file.name)
    if out is None:
        click.echo(made.text, nl=False)
        return
    try:
        with out.open("x", encoding="utf-8") as opened:
            opened.write(made.text)
    except FileExistsError:
        raise ScenarioError("--out", f"{out} is there already, name another") from None
    except OSError as error:
        reason = f"cannot write {out}: {error.strerror or error}"
        raise HostError(reason) from error
    click.echo(f"{out}: a scenario made of a {made.kind} configuration")
    for why, what in grouped(made.lost).items():
        click.echo(f"not carried over, {why}:")
        for each in what:
            click.echo(f"  {each}")
    click.echo(f"see what it would do: djinnload check {out}")
