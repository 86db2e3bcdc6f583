"""What can be named in a scenario: the models."""

import click

__all__ = ("models",)


@click.command()
def models() -> None:
    """List the models that scenarios can name; none is built or fetched."""
    from djinnload.models import catalog

    for name in catalog.names():
        found = catalog.find(name, seed=0)
        click.echo(f"{name:16} {found.architecture}")
