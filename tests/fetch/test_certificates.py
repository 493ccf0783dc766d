import shutil
import ssl
import subprocess

import pytest
from tests.fetch.origin import always, origin

from bucketpull.domain.errors import ConfigError, Reason
from bucketpull.fetch.certificates import authorities


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    openssl = shutil.which("openssl")
    assert openssl, "the test of TLS makes its certificate with openssl: install it"
    command = [
        openssl,
        *[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
        ],
    ]
    command += ["-keyout", folder / "key.pem", "-out", folder / "cert.pem"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.fixture
def site(pair):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair / "cert.pem", pair / "key.pem")
    with origin(always(b"secret"), wrap=lambda sock: context.wrap_socket(sock, server_side=True)) as site:
        yield site


def test_a_certificate_of_nobody_we_trust_is_refused_and_its_host_is_named(fetch, site):
    response = fetch.ask(site.url(host="localhost", scheme="https"))
    assert response.failure is Reason.TLS
    assert response.detail.endswith(f"(localhost:{site.port})")


def test_the_authority_asked_for_is_trusted_for_its_names_only(fetching, site, pair):
    fetch = fetching(ca_file=str(pair / "cert.pem"))
    for _ in range(3):
        assert fetch.ask(site.url(host="localhost", scheme="https")).body == b"secret"
    assert site.connections <= 2
    assert fetch.ask(site.url(host="127.0.0.1", scheme="https")).failure is Reason.TLS


def test_insecure_trusts_everybody(fetching, site):
    assert fetching(insecure=True).ask(site.url(scheme="https")).body == b"secret"


def test_a_server_that_speaks_no_tls_is_told(fetch):
    def script(peer):
        peer.sock.recv(4096)
        peer.answer(b"plain", "400 Bad Request")

    with origin(script) as plain:
        response = fetch.ask(plain.url(scheme="https"))

    assert response.failure is Reason.TLS
    assert response.detail.startswith(
        "the server does not speak TLS at this port: http:// in place of https://?"
    )


def test_a_ca_file_that_is_not_there_is_found_before_anything_is_done(tmp_path):
    with pytest.raises(ConfigError, match=r"gone\.pem: cannot be read"):
        authorities(str(tmp_path / "gone.pem"), {})


def test_the_systems_own_file_is_taken_unread_whoever_names_it(tmp_path, monkeypatch):
    place = tmp_path / "system.pem"
    place.write_text("no certificate")
    environment = {"SSL_CERT_FILE": str(place)}
    with pytest.raises(ConfigError, match="has no certificate"):
        authorities(None, environment)
    monkeypatch.setattr("bucketpull.fetch.certificates._PLACES", (str(place),))
    assert authorities(None, environment) == str(place)


def test_the_environment_names_a_ca_file_unless_one_is_asked_for(tmp_path, pair):
    for name in ("asked.pem", "curl.pem", "ssl.pem"):
        shutil.copy(pair / "cert.pem", tmp_path / name)
    environment = {"SSL_CERT_FILE": str(tmp_path / "ssl.pem")}
    assert authorities(None, environment) == str(tmp_path / "ssl.pem")
    environment["CURL_CA_BUNDLE"] = str(tmp_path / "curl.pem")
    assert authorities(None, environment) == str(tmp_path / "curl.pem")
    assert authorities(str(tmp_path / "asked.pem"), environment) == str(tmp_path / "asked.pem")
