"""What a shell may fill in, and the scripts with which it asks for it.

Every press of the key is a process of its own, which imports what it needs; what goes
wrong there completes nothing.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem, get_completion_class

from djinnload.cli.help import examples

__all__ = (
    "arms",
    "changes",
    "codes",
    "completions",
    "models",
    "runs",
    "scenarios",
    "workloads",
)

#: The scenario that is named already, and what is typed → what it could be.
_Names = Callable[[str, str], Iterable[str]]
_Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]
# After a path of --set comes its value, not a space.
_NO_SPACE = "[[ $value == *= ]] && compopt -o nospace"


def _completer(otherwise: str = "") -> Callable[[_Names], _Completer]:
    """Make of names what click asks for; without one that fits, *otherwise*.

    Args:
        otherwise: ``file`` or ``dir``: the shell's own; empty: nothing.
    """

    def around(names: _Names) -> _Completer:
        def complete(
            ctx: click.Context, _: click.Parameter, incomplete: str
        ) -> list[CompletionItem]:
            # An option that waits for its value leaves what stands before it unread.
            given = ctx.params.get("scenario") or "".join(ctx.args[:1])
            found: list[str] = []
            with suppress(Exception):
                found = [
                    name
                    for name in names(given, incomplete)
                    if name.startswith(incomplete)
                ]
            if not found and otherwise:
                return [CompletionItem(incomplete, type=otherwise)]
            return [CompletionItem(name) for name in found]

        return complete

    return around


@_completer("file")
def scenarios(_given: str, incomplete: str) -> Iterable[str]:
    """Complete a scenario: one that ships, or a file of one."""
    from djinnload.scenarios.load import shipped

    folder = Path(incomplete).parent if "/" in incomplete else Path()
    return sorted([*shipped(), *map(str, folder.glob("*.toml"))])


@_completer("dir")
def runs(_given: str, _incomplete: str) -> Iterable[str]:
    """Complete a results directory."""
    return sorted(str(p.parent) for p in Path("results").glob("*/*/manifest.json"))


@_completer()
def arms(given: str, _incomplete: str) -> Iterable[str]:
    """Complete an arm of the scenario that stands before."""
    from djinnload.scenarios.load import load

    return [arm.name for arm in load(given).arms]


@_completer()
def codes(_given: str, _incomplete: str) -> Iterable[str]:
    """Complete a reason of a void run."""
    from djinnload.findings import CODES

    return CODES


@_completer()
def workloads(_given: str, _incomplete: str) -> Iterable[str]:
    """Complete a workload that is installed."""
    from djinnload import registry

    return [entry.name for entry in registry.entries(registry.WORKLOADS)]


@_completer()
def models(_given: str, _incomplete: str) -> Iterable[str]:
    """Complete a model that scenarios can name."""
    from djinnload.models import catalog

    return catalog.names()


@_completer()
def changes(given: str, _incomplete: str) -> Iterable[str]:
    """Complete a path of the scenario that stands before, as ``--set`` takes it."""
    from djinnload.scenarios.load import load

    return [f"{path}=" for path in _paths(load(given).document)]


def _paths(value: Any, above: str = "") -> Iterable[str]:
    """Yield the paths of all values below *value*, elements of lists by their names."""
    if isinstance(value, list) and all(isinstance(e, dict) for e in value):
        value = {each["name"]: each for each in value if "name" in each}
    if not isinstance(value, dict):
        yield above
        return
    for key, inner in value.items():
        if key != "name":
            yield from _paths(inner, f"{above}.{key}" if above else key)


@click.command(
    epilog=examples(
        "djinnload completions bash >> ~/.bashrc",
        'djinnload completions zsh > "${fpath[1]}/_djinnload"',
        "djinnload completions fish > ~/.config/fish/completions/djinnload.fish",
    )
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completions(ctx: click.Context, /, *, shell: str) -> None:
    """Print the script that lets a shell complete djinnload.

    It completes commands, options, scenarios, arms, paths of --set, codes of --accept,
    workloads, models and results. It takes effect in the next shell; for this one: eval
    "$(djinnload completions bash)".
    """
    kind = get_completion_class(shell)
    assert kind is not None  # noqa: S101 - click brings all three
    made = kind(ctx.find_root().command, {}, "djinnload", "_DJINNLOAD_COMPLETE")
    add = "COMPREPLY+=($value)"
    script = made.source().replace(add, f"{add}; {_NO_SPACE}")
    click.echo(script)
