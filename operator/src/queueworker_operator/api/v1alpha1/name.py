"""`metadata.name` of a QueueWorker, which is its Deployment's name too."""

from queueworker_operator.api.v1alpha1.rules import Rule

MAX_LENGTH = 52
"""A pod's name adds a dash, a hash of 10 characters, a dash and 5 more, and has to be a label of a host name."""

RULES = (
    Rule(
        rule=f"size(self.metadata.name) <= {MAX_LENGTH}",
        message=(
            f"metadata.name has too many characters (%d): at most {MAX_LENGTH}, because the names of the Deployment "
            "and its pods are made of it"
        ),
        values=("size(self.metadata.name)",),
    ),
    Rule(
        rule="!self.metadata.name.contains('.')",
        message="metadata.name holds a dot (%s): use dashes, because host names of pods are made of it",
        values=("self.metadata.name",),
    ),
)
