"""Where this system keeps the authorities that it trusts.

The libcurl that PyPI's pycurl brings was built on one distribution and looks only where that one keeps them.
"""

import os
from collections.abc import Mapping
from functools import cache

from bucketpull.domain.errors import ConfigError

_NAMES = ("CURL_CA_BUNDLE", "SSL_CERT_FILE")
_PLACES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Arch, Gentoo, Alpine
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # SUSE
    "/etc/ssl/cert.pem",  # Alpine, the BSDs, macOS
)


def authorities(ca_file: str | None, environment: Mapping[str, str] = os.environ) -> str | None:
    """Return the file of trusted authorities: the one asked for, the environment's, the system's; None is libcurl's own.

    The system's is not read to check it, whoever names it. Raises ConfigError where another cannot be read.
    """
    asked = ca_file or next((environment[name] for name in _NAMES if environment.get(name)), None)
    if asked is not None:
        if asked not in _PLACES or not os.access(asked, os.R_OK):
            _check(asked)
        return asked
    return next((place for place in _PLACES if os.access(place, os.R_OK)), None)


@cache
def _check(path: str) -> None:
    """Read a file of authorities once for this process and those that it forks: it takes 30 ms."""
    import ssl

    try:
        with open(path, "rb") as file:
            file.read(1)
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError as error:
        raise ConfigError(f"CA file {path}: has no certificate; name a file of PEM certificates") from error
    except OSError as error:
        raise ConfigError(
            f"CA file {path}: cannot be read ({error.strerror}); name a file of PEM certificates"
        ) from error
