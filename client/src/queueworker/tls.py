"""From TLS settings to a context; apart from redis-py, which a worker on a standalone server never loads."""

from __future__ import annotations

import ssl

from queueworker.errors import SettingsError
from queueworker.settings import TlsSettings


def tls_context(tls: TlsSettings) -> ssl.SSLContext:
    """Return the TLS context of the settings; raises SettingsError naming the file that cannot be used."""
    try:
        # With a CA of their own the system's CAs are not trusted any more.
        context = ssl.create_default_context(cafile=tls.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"TLS: the CA file {tls.ca_file} cannot be used: {error}") from None
    if tls.certificate_file is not None:
        try:
            context.load_cert_chain(tls.certificate_file, tls.key_file)
        except (OSError, ssl.SSLError) as error:
            files = f"{tls.certificate_file} and {tls.key_file}"
            raise SettingsError(f"TLS: certificate and key in {files} cannot be used: {error}") from None
    if tls.insecure_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
