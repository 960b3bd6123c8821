"""Job names as the status can hold them."""

import hashlib

MAX_CHARACTERS = 128
_DIGEST_CHARACTERS = 16


def shorten(name: str) -> str:
    """Return the name; one that the status cannot hold gets a digest for its end, so that no two become one."""
    if len(name) <= MAX_CHARACTERS and _is_text(name):
        return name
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:_DIGEST_CHARACTERS]
    text = name.encode(errors="replace").decode()
    return f"{text[: MAX_CHARACTERS - _DIGEST_CHARACTERS - 1]}~{digest}"


def _is_text(name: str) -> bool:
    """Half of a surrogate pair is none: JSON may hold one, the API server refuses it."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
