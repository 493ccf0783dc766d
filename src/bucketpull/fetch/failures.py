"""What libcurl's errors mean in our words."""

import errno
import os

import pycurl

from bucketpull.domain.errors import Reason

_REASONS = {
    pycurl.E_URL_MALFORMAT: Reason.REJECTED,
    pycurl.E_COULDNT_RESOLVE_HOST: Reason.DNS,
    pycurl.E_COULDNT_RESOLVE_PROXY: Reason.DNS,
    pycurl.E_COULDNT_CONNECT: Reason.CONNECT,
    pycurl.E_SSL_CONNECT_ERROR: Reason.TLS,
    pycurl.E_PEER_FAILED_VERIFICATION: Reason.TLS,
    pycurl.E_SSL_CACERT_BADFILE: Reason.TLS,
    pycurl.E_SSL_CERTPROBLEM: Reason.TLS,
    pycurl.E_SSL_CIPHER: Reason.TLS,
    pycurl.E_SSL_ISSUER_ERROR: Reason.TLS,
    pycurl.E_GOT_NOTHING: Reason.RESET,
    pycurl.E_SEND_ERROR: Reason.RESET,
    pycurl.E_RECV_ERROR: Reason.RESET,
    pycurl.E_PARTIAL_FILE: Reason.TRUNCATED,
    pycurl.E_FILESIZE_EXCEEDED: Reason.SIZE,
    pycurl.E_WRITE_ERROR: Reason.INTERRUPTED,
    pycurl.E_ABORTED_BY_CALLBACK: Reason.INTERRUPTED,
}

_NO_TLS = "wrong version number"


def reason_of(code: int, connected: bool) -> Reason:
    """Return the reason of a libcurl error. Its only timeout here is that of connecting; a proxy may be slow after that."""
    if code == pycurl.E_OPERATION_TIMEDOUT:
        return Reason.TIMEOUT if connected else Reason.CONNECT
    if code == pycurl.E_COULDNT_CONNECT and _is_short_of_descriptors():
        return Reason.MACHINE  # libcurl does not say why there was no socket
    return _REASONS.get(code, Reason.GARBAGE)


def words_of(text: str) -> str:
    """Say what OpenSSL means where its own words lead nobody on."""
    return (
        f"the server does not speak TLS at this port: http:// in place of https://? ({text})"
        if _NO_TLS in text
        else text
    )


def _is_short_of_descriptors() -> bool:
    try:
        os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        return error.errno in {errno.EMFILE, errno.ENFILE}
    return False
