"""Exit codes; part of the interface."""

from __future__ import annotations

from typing import Final

FAILED: Final = 1
USAGE: Final = 2
NOT_FOUND: Final = 3
REDIS: Final = 4
"""Redis cannot be reached, or denies what is needed."""
REFUSED: Final = 6
PARTLY: Final = 7
INTERRUPTED: Final = 130
