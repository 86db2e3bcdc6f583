"""Plugins as scenario files see them: what there is, and what may be set."""

from typing import Any

import click

__all__ = ("workloads",)


@click.command()
@click.argument("name", required=False)
def workloads(*, name: str | None) -> None:
    """List workloads; with NAME, show one's options. The list imports no plugin."""
    from djinnload import registry

    if name is None:
        for entry in registry.entries(registry.WORKLOADS):
            click.echo(f"{entry.name:16} {entry.package} {entry.version}")
        return
    kind = registry.find(registry.WORKLOADS, name, path="workloads NAME")
    click.echo((kind.__doc__ or name).strip().splitlines()[0])
    _show_options(kind.Options)


def _show_options(options: Any) -> None:
    import msgspec

    for field in msgspec.structs.fields(options):
        kind = getattr(field.type, "__name__", str(field.type))
        default = "required" if field.required else f"default {field.default!r}"
        click.echo(f"  {field.encode_name:16} {kind}, {default}")
