"""How commands introduce themselves: in groups, in order, each with an example."""

from collections.abc import Mapping, Sequence

import click

__all__ = ("Verbs", "examples")


class Verbs(click.Group):
    """Commands under headings, in the order in which a newcomer needs them."""

    def __init__(
        self,
        *arguments: object,
        sections: Mapping[str, Sequence[click.Command]],
        **options: object,
    ) -> None:
        super().__init__(*arguments, **options)  # type: ignore[arg-type]
        self._sections = sections
        for verb in (verb for verbs in sections.values() for verb in verbs):
            self.add_command(verb)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names as they are listed, also by completions."""
        return list(self.commands)

    def format_commands(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        """Write every heading with its commands; no line is cut off."""
        wide = max(map(len, self.commands))
        for title, verbs in self._sections.items():
            rows = [
                (str(verb.name).ljust(wide), verb.get_short_help_str(formatter.width))
                for verb in verbs
            ]
            with formatter.section(title):
                formatter.write_dl(rows)


def examples(*lines: str) -> str:
    """Return what stands below a command's options: command lines to begin with."""
    # \b: click leaves the paragraph after it as it is.
    return "\n".join(("\b", "Examples:", *(f"  {line}" for line in lines)))
