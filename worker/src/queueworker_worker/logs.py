"""Log lines for people and collectors: one line per event on stderr, with nothing in it that steers a terminal."""

from __future__ import annotations

import logging
import sys
import time


class LineFormatter(logging.Formatter):
    """Time in UTC, level, message; job names and errors come from outside, so control characters are escaped."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line, a traceback included."""
        line = super().format(record)
        if line.isprintable():
            return line
        return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in line)


def configure(level: str = "INFO") -> None:
    """Send the log of this process to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
