"""Whether a Redis and its queues are fit for BullMQ: findings, each with what to do. Nothing is changed."""

from __future__ import annotations

from queueworker.doctor.diagnosis import diagnose
from queueworker.doctor.findings import Finding, Status

__all__ = ["Finding", "Status", "diagnose"]
