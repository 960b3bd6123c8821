"""The short names under which BullMQ's scripts know and store some options of a job.

Sources: `optsDecodeMap` of BullMQ for Node, `includes/storeJob.lua`.
"""

from __future__ import annotations

from typing import Final

ON_FAILURE: Final = {
    "failParentOnFailure": "fpof",
    "continueParentOnFailure": "cpof",
    "ignoreDependencyOnFailure": "idof",
    "removeDependencyOnFailure": "rdof",
}
"""What a child that failed for good does to its parent."""
SHORT: Final = {"keepLogs": "kl", "deduplication": "de", **ON_FAILURE}
LONG: Final = {short: name for name, short in SHORT.items()}
TELEMETRY: Final = {"metadata": "tm", "omitContext": "omc"}
"""The parts of `telemetry`, which is stored flat."""
