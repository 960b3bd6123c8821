"""Run migrations on the connection that `queueworker_processors.migrate` opened, inside its transaction."""

from alembic import context

from queueworker_processors.killboard import tables
from queueworker_processors.storage import metadata

__all__ = ["tables"]

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata)
context.run_migrations()
