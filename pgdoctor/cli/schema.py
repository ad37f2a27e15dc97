"""`pgdoctor schema`: the JSON Schema of an output."""

import click
from tabulate import tabulate

from pgdoctor.errors import UsageError


@click.command(short_help="Print the JSON Schema of an output.")
@click.argument("name", required=False)
def command(name: str | None) -> None:
    """Print the JSON Schema of an output.

    Without NAME the command lists all. See pgdoctor explain json for what may change.
    """
    from pgdoctor.render.schemas import OUTPUTS, schema_to_json

    if name is None:
        click.echo(tabulate([(each, output.written_by) for each, output in OUTPUTS.items()], ("name", "written by")))
        return
    if name not in OUTPUTS:
        raise UsageError(f"there is no schema {name[:100]!r}; known schemas: {', '.join(OUTPUTS)}")
    click.echo(schema_to_json(name), nl=False)
