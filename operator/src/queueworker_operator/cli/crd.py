"""`queueworker crd`: the CustomResourceDefinition, for `kubectl apply --server-side -f -`."""

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command to an application."""
    app.command("crd")(print_crd)


def print_crd(
    *, chart: Annotated[bool, typer.Option("--chart", help="Print it as the template of the Helm chart.")] = False
) -> None:
    """Print the CustomResourceDefinition of QueueWorker as YAML."""
    # Here, so that --help does not build the models.
    from queueworker_operator.api.crd import chart_yaml, crd_yaml

    typer.echo(chart_yaml() if chart else crd_yaml(), nl=False)


if __name__ == "__main__":
    typer.run(print_crd)
