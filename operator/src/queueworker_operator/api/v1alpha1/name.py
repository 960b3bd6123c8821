"""`metadata.name` of a QueueWorker, which is its Deployment's name too."""

from queueworker_operator.api.v1alpha1.rules import Expression, Rule

MAX_LENGTH = 52
"""A pod's name adds a dash, a hash of 10 characters, a dash and 5 more, and has to be a label of a host name."""

# In CEL `self` is the whole object, in Python the name alone.
RULES = (
    Rule(
        rule=Expression(f"size(self.metadata.name) <= {MAX_LENGTH}", lambda name: len(name) <= MAX_LENGTH),
        message=(
            f"metadata.name has too many characters (%d): at most {MAX_LENGTH}, because the names of the Deployment "
            "and its pods are made of it"
        ),
        values=(Expression("size(self.metadata.name)", len),),
    ),
    Rule(
        rule=Expression("!self.metadata.name.contains('.')", lambda name: "." not in name),
        message="metadata.name holds a dot (%s): use dashes, because host names of pods are made of it",
        values=(Expression("self.metadata.name", str),),
    ),
)
