"""Who may reach the dashboard is the operator's word: token, certificate, and where volumes may be added."""

import contextlib
import os
import socket
import ssl

import pytest

from bucketpull.domain.errors import ConfigError
from bucketpull.wiring.dashboard_access import dashboard_access, dashboard_at
from bucketpull.wiring.settings import Settings

TOKEN = "0123456789abcdef0123456789abcdef"


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


# --- a token of the operator's own


def test_the_token_comes_from_a_file_or_the_environment_and_the_file_comes_first(tmp_path):
    path = tmp_path / "token"
    path.write_text(TOKEN + "\n")
    path.chmod(0o600)

    assert dashboard_access(Settings()).token is None
    assert dashboard_access(Settings(dashboard_token="environment-token")).token == "environment-token"
    given = Settings(dashboard_token="environment-token", dashboard_token_file=str(path))
    assert dashboard_access(given).token == TOKEN
    assert "environment-token" in given.secrets()


@pytest.mark.parametrize("text", ["", "short", "with blanks in the middle", "ключ" * 8, "a" * 5000])
def test_what_is_no_token_is_refused_without_being_repeated(tmp_path, text):
    path = tmp_path / "token"
    path.write_text(text)

    with pytest.raises(ConfigError, match="is not a token") as refusal:
        dashboard_access(Settings(dashboard_token_file=str(path)))
    assert not text or text not in str(refusal.value)


@pytest.mark.parametrize("name", ["dashboard_token_file", "dashboard_cert"])
def test_a_file_that_is_not_there_is_named_with_its_option(name):
    with pytest.raises(ConfigError, match=f"--{name.replace('_', '-')} /no/such: No such file"):
        dashboard_access(Settings(**{name: "/no/such"}))


def test_a_token_that_others_can_read_is_told(tmp_path, capsys):
    path = tmp_path / "token"
    path.write_text(TOKEN)
    path.chmod(0o644)

    dashboard_access(Settings(dashboard_token_file=str(path)))
    assert f"others can read it; chmod 600 {path}" in capsys.readouterr().err


def test_prometheus_on_another_machine_looks_with_the_token_that_it_was_given(serve):
    served = serve(host="0.0.0.0", token=TOKEN)

    assert served.ask("GET", "/metrics")[0] == 401
    assert served.ask("GET", "/metrics", **bearer(TOKEN))[0] == 200


# --- TLS


def test_with_a_certificate_the_page_and_the_api_come_by_https(serve, certificates):
    access = dashboard_access(
        Settings(
            dashboard_cert=str(certificates / "server.pem"), dashboard_key=str(certificates / "server.key")
        )
    )
    served = serve(tls=access.tls)
    trust = ssl.create_default_context(cafile=str(certificates / "ca.pem"))

    assert served.address.startswith("https://127.0.0.1:")
    with (
        socket.create_connection(("127.0.0.1", served.port), timeout=60) as plain,
        trust.wrap_socket(plain, server_hostname="127.0.0.1") as secure,
    ):
        secure.sendall(b"GET /api/snapshot HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: secure.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 200 ")


def test_whoever_speaks_no_tls_gets_nothing_and_is_in_nobody_s_way(serve, certificates):
    settings = Settings(
        dashboard_cert=str(certificates / "server.pem"), dashboard_key=str(certificates / "server.key")
    )
    served = serve(tls=dashboard_access(settings).tls)

    with socket.create_connection(("127.0.0.1", served.port), timeout=60) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert not plain.recv(65536).startswith(b"HTTP")
    trust = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
    with (
        socket.create_connection(("127.0.0.1", served.port), timeout=60) as plain,
        trust.wrap_socket(plain, server_hostname="127.0.0.1") as secure,
    ):
        assert secure.version() in {"TLSv1.2", "TLSv1.3"}


def test_a_certificate_without_its_key_and_a_key_without_its_certificate_are_refused(certificates):
    with pytest.raises(ConfigError, match="not a PEM certificate with the key"):
        dashboard_access(Settings(dashboard_cert=str(certificates / "server.pem")))
    with pytest.raises(ConfigError, match="with --dashboard-cert"):
        dashboard_access(Settings(dashboard_key=str(certificates / "server.key")))


@pytest.mark.parametrize(("address", "told"), [("0.0.0.0:0", True), ("127.0.0.1:0", False)])
def test_plain_http_on_the_network_is_told(address, told, capsys):
    import asyncio

    class Job:
        snapshot = None

    async def look():
        open_dashboard = dashboard_at(address, "--dashboard", Settings(dashboard_token=TOKEN))
        await (await open_dashboard(None, Job())).close()

    asyncio.run(look())
    said = capsys.readouterr().err

    assert ("go over the network as they are; give --dashboard-cert" in said) == told
    assert TOKEN not in said


# --- volumes


def add(served, path):
    body = f'{{"volume": "{path}"}}'
    status, _, answer = served.ask("POST", "/api/volumes/add", body, **bearer(served.token))
    return status, answer


@pytest.mark.parametrize(
    "path",
    ["/etc/x", "relative", "/", "{below}", "{below}/../x", "{below}-beside", "{below}/link/x", "/proc"],
)
def test_whoever_has_the_token_has_no_volume_made_but_where_the_command_line_allows_it(serve, tmp_path, path):
    below = tmp_path / "disks"
    below.mkdir()
    (below / "link").symlink_to("/var")
    served = serve(volumes_below=[os.path.realpath(below)])

    status, answer = add(served, path.format(below=below))

    assert status == 403
    assert "--volumes-below" in answer["error"]
    assert served.panel.calls == []


def test_a_volume_below_what_is_allowed_is_added_by_its_real_path_and_one_that_is_known_again(
    serve, tmp_path
):
    below = tmp_path / "disks"
    below.mkdir()
    (tmp_path / "other").symlink_to(below)
    served = serve(volumes_below=[os.path.realpath(below)])
    known = served.panel.snapshot().volumes[0].path

    assert add(served, f"{tmp_path}/other/d9")[0] == 200
    assert add(served, known)[0] == 200

    assert [call[1] for call in served.panel.calls] == [f"{os.path.realpath(below)}/d9", known]


def test_without_the_option_the_dashboard_adds_no_new_volume(serve):
    assert add(serve(volumes_below=[]), "/mnt/disk9")[0] == 403


@pytest.mark.parametrize("body", ["", "{}", "[]", '{"volume": 1}', '{"volume": "/a\\u0000b"}', "[" * 5000])
def test_what_names_no_volume_is_refused(serve, body):
    served = serve()

    assert served.ask("POST", "/api/volumes/add", body, **bearer(served.token))[0] == 400
    assert served.panel.calls == []
