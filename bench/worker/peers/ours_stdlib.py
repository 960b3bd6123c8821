"""`queueworker work` on the standard library's event loop, where uvloop is installed."""

from __future__ import annotations

import sys

# An import of a module that is None raises ImportError, as where uvloop is not installed.
sys.modules["uvloop"] = None  # type: ignore[assignment]

from queueworker_worker.__main__ import app  # noqa: E402

if __name__ == "__main__":
    app()
