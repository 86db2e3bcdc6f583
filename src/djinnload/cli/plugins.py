"""Plugins as scenario files see them: what there is, and what may be set."""

import json
from pathlib import Path

import click

from djinnload.cli import completions
from djinnload.cli.help import examples
from djinnload.cli.terminal import say_error
from djinnload.errors import HostError

__all__ = ("new_plugin", "schema", "workloads")


@click.command(epilog=examples("djinnload workloads", "djinnload workloads llm"))
@click.argument("name", required=False, shell_complete=completions.workloads)
def workloads(*, name: str | None) -> None:
    """List workloads; with NAME, show one's options.

    The list imports no plugin, and says of one that cannot be used what is wrong.
    """
    from djinnload import registry
    from djinnload.report import catalogs

    if name is None:
        entries = registry.entries(registry.WORKLOADS)
        catalogs.show_entries([(e, registry.broken(e, entries)) for e in entries])
        return
    kind = registry.find(registry.WORKLOADS, name, path="workloads NAME")
    click.echo((kind.__doc__ or name).strip().splitlines()[0].replace("``", "`"))
    if unit := getattr(kind, "unit", ""):
        click.echo(f"Counts {unit}.")
    from djinnload.options import described

    catalogs.show_options(described(kind.Options))


@click.command(epilog=examples("djinnload schema --out schema.json"))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Where to write it; default: stdout.",
)
@click.option(
    "--without-plugins", is_flag=True, help="Only what djinnload itself brings."
)
def schema(*, out: Path | None, without_plugins: bool) -> None:
    """Print the JSON Schema of scenario files, for editors.

    It holds the options of every plugin that is installed here. An editor completes and
    checks a scenario whose first line is `#:schema ./schema.json`: docs/editors.md.
    """
    from djinnload.json_schema import scenario_schema

    found, wrong = scenario_schema("djinnload" if without_plugins else "")
    for each in wrong:
        say_error(f"left out: {each}")
    encoded = json.dumps(found, indent=1, ensure_ascii=False)
    if out is None:
        click.echo(encoded)
        return
    try:
        out.write_text(encoded + "\n", encoding="utf-8")
    except OSError as error:
        raise HostError(f"cannot write the schema: {error}") from error


@click.command(
    "new-plugin",
    epilog=examples(
        "djinnload new-plugin quiz", "djinnload new-plugin tides --kind arrival"
    ),
)
@click.argument("name")
@click.option(
    "--kind",
    type=click.Choice(["workload", "arrival", "target"]),
    default="workload",
    show_default=True,
    help="What it brings.",
)
@click.option(
    "--in",
    "parent",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=Path(),
    help="The folder to make it in; default: this one.",
)
def new_plugin(*, name: str, kind: str, parent: Path) -> None:
    """Write the skeleton of a plugin, whose tests pass.

    A package, djinnload-NAME, to install and to go on from: docs/plugins.md.
    """
    from djinnload.new_plugin import write_plugin

    root = write_plugin(name, kind, parent)
    click.echo(f"made {root}; next:")
    click.echo(f"  pip install -e '{root}[test]' && pytest {root}")
