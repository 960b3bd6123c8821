"""What a reconciler may, and how often it looks."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconcilerSettings:
    """What a reconciler may and how often it looks; seconds."""

    tls_directory: Path
    """For the certificates that the operator connects with; private to this user."""
    allow_local_redis: bool = False
    resync: float = 300.0
    """Between two looks at workers of which no event came."""
    unsettled: float = 10.0
    """The same while they are not all ready: the cause shows on the pods, which nobody watches."""
    target: float = 30.0
    """The same of what a targetRef names, of which no event ever comes."""
