"""The processors that come with QueueWorker."""

import logging

# Alembic tells of its plugins when it is imported, and that once in the log of every worker.
logging.getLogger("alembic").setLevel(logging.WARNING)
