"""What a watch told of one Deployment (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Course:
    """The numbers and the Ready pods of a Deployment, each with the moment (monotonic) of its change."""

    numbers: list[tuple[float, int]] = field(default_factory=list)
    ready: list[tuple[float, int]] = field(default_factory=list)

    def see(self, at: float, deployment: Mapping[str, Any]) -> None:
        """Take what the watch tells."""
        number: int = deployment["spec"]["replicas"]
        ready: int = (deployment.get("status") or {}).get("readyReplicas", 0)
        for course, value in ((self.numbers, number), (self.ready, ready)):
            if not course or course[-1][1] != value:
                course.append((at, value))

    def written_after(self, moment: float) -> list[tuple[float, int]]:
        """Return the numbers written after a moment, each with the seconds since."""
        return [(at - moment, number) for at, number in self.numbers if at > moment]

    def ready_after(self, moment: float, *, pods: int) -> float:
        """Return the seconds from a moment until so many pods were Ready."""
        return next(at for at, ready in self.ready if at > moment and ready >= pods) - moment
