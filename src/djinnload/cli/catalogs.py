"""What can be named: the scenarios that ship, and the models of scenarios."""

from pathlib import Path

import click

from djinnload.cli import completions
from djinnload.cli.help import examples

__all__ = ("models", "scenarios")

_MILLION = 1e6
_THOUSAND = 1e3


@click.command(epilog=examples("djinnload scenarios", "djinnload check qos_mix"))
def scenarios() -> None:
    """List the scenarios that ship, and what each asks.

    Their names do instead of a file. Those that end in _smoke take two cores and about
    a minute.
    """
    from djinnload.report import catalogs
    from djinnload.scenarios.load import shipped

    # To begin with, those that are no experiment of the guide.
    rows = sorted(shipped().items(), key=lambda row: row[0].startswith("exp"))
    catalogs.show_scenarios([(name, _purpose(path)) for name, path in rows])


def _purpose(path: Path) -> str:
    """Return the first paragraph of the comments that a scenario file begins with."""
    lines = path.read_text(encoding="utf-8").splitlines()
    found: list[str] = []
    for line in lines:
        if line.startswith("#:"):
            continue
        if not line.startswith("# "):
            break
        found.append(line[2:])
    return " ".join(found)


@click.command(epilog=examples("djinnload models", "djinnload models gpt2-tiny"))
@click.argument("name", required=False, shell_complete=completions.models)
def models(*, name: str | None) -> None:
    """List the models that scenarios can name; with NAME, one.

    None is built or fetched. Sent and received are the tensors of one request of batch
    1 and 16 tokens in float32.
    """
    from djinnload.models import catalog
    from djinnload.report import catalogs

    if name is not None:
        catalog.find(name, seed=0)  # else there is none of that name
    chosen = _names() if name is None else [name]
    catalogs.show_models([_row(each) for each in chosen])


def _names() -> list[str]:
    from djinnload.models import catalog

    kinds = (
        "llm",
        "encoder",
        "vision",
        "multimodal",
        "speech",
        "speech_encoder",
        "synthetic",
    )
    return [name for kind in kinds for name in catalog.of_kind(kind)]


def _row(name: str) -> tuple[str, ...]:
    from djinnload.models import catalog, families

    model = catalog.find(name, seed=0)
    numbers = catalog.parameters(name)
    return (
        name,
        families.family(model.architecture).kind,
        model.architecture,
        f"{numbers / _MILLION:,.2f} M",
        f"{numbers * families.DTYPES['float32'] / _MILLION:,.1f} MB",
        f"{numbers * families.DTYPES['float16'] / _MILLION:,.1f} MB",
        *(f"{n / _THOUSAND:,.1f} kB" for n in families.request_bytes(model)),
    )
