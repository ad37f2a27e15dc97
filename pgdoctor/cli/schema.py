"""`pgdoctor schema`: the JSON Schema of an output."""

import click
from tabulate import tabulate

from pgdoctor.errors import UsageError

#: The name of the description of the HTTP endpoints.
_OPENAPI = "openapi"


@click.command(short_help="Print the JSON Schema of an output.")
@click.argument("name", required=False)
def command(name: str | None) -> None:
    """Print the JSON Schema of an output.

    Without NAME the command lists all. See pgdoctor explain json for what may change. openapi describes the HTTP
    endpoints of the agent.
    """
    from pgdoctor.render.schemas import OUTPUTS, schema_to_json

    listed = {each: output.written_by for each, output in OUTPUTS.items()} | {_OPENAPI: "all endpoints of the agent"}
    if name is None:
        click.echo(tabulate(listed.items(), ("name", "written by")))
    elif name == _OPENAPI:
        # Here, not above: no other output needs the HTTP server.
        from pgdoctor.agent.http.openapi import openapi_to_json

        click.echo(openapi_to_json(), nl=False)
    elif name in OUTPUTS:
        click.echo(schema_to_json(name), nl=False)
    else:
        raise UsageError(f"there is no schema {name[:100]!r}; known schemas: {', '.join(listed)}")
