"""What a Redis command is, as it is handed to a connection."""

Command = tuple[str | int | bytes, ...]
"""Its words."""
