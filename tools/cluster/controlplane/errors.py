"""The one error of this package."""

from __future__ import annotations


class ClusterError(Exception):
    """The control plane could not be built, started or asked; the message says what, where and what to do."""
