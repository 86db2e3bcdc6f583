"""What can be named in a scenario: the models."""

import click

__all__ = ("models",)

_MILLION = 1e6
_THOUSAND = 1e3


@click.command()
def models() -> None:
    """List the models that scenarios can name; none is built or fetched.

    Sent and received are the tensors of one request of batch 1 and 16 tokens in
    float32.
    """
    from djinnload.report import catalogs

    catalogs.show_models([_row(name) for name in _names()])


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
