"""Where the operator's messages go: stderr, as lines or as JSON objects."""

from __future__ import annotations

import json
import logging
import sys
from typing import TextIO

from queueworker.errors import SettingsError

# Its workings belong to who debugs kopf; at exit one line of it names every stream.
_KOPF = {"kopf": logging.WARNING, "kopf._core.reactor.queueing": logging.ERROR}


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and the exception where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as JSON."""
        entry = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


class _Stderr(logging.StreamHandler[TextIO]):
    """Writes to whatever stderr is at the moment: a live table puts itself between."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record."""
        self.stream = sys.stderr
        super().emit(record)


def configure(level: str, style: str) -> None:
    """Set up logging; raises SettingsError for a level that does not exist."""
    if level not in logging.getLevelNamesMapping():
        raise SettingsError(f"{level!r} is not a log level: use DEBUG, INFO, WARNING or ERROR")
    handler = _Stderr()
    plain = logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S")
    handler.setFormatter(JsonFormatter() if style == "json" else plain)
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name, least in _KOPF.items():
        logging.getLogger(name).setLevel(max(least, logging.getLevelNamesMapping()[level]))
