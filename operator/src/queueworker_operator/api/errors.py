"""The errors of the API."""


class InvalidSpecError(Exception):
    """A stored spec that the models refuse; the text is one line that begins with the field, `spec.redis.port: ...`."""


class SchemaError(Exception):
    """A model that no structural schema can express; the text names the field and what stands in the way."""
