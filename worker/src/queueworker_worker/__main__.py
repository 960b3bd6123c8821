"""`python -m queueworker_worker work QUEUE…`: the worker's commands alone."""

import typer

from queueworker_worker.cli import register

app = typer.Typer(no_args_is_help=True, add_completion=False)
register(app)

if __name__ == "__main__":
    app()
