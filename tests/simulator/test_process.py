import os
import signal
import ssl
import subprocess
import sys
import time
from urllib.request import urlopen

import msgspec
import pytest
from click.testing import CliRunner

from bucketpull.cli.simulate import simulate
from upyun_simulator import Ready, Simulator, content


def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def wait_until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_process_serves_is_changed_and_ends_with_its_handle():
    with Simulator(
        "flat:10,size=100", faults=["503:first=1,on=cdn,path=img-2*"], track_keys=True
    ) as simulator:
        with urlopen(f"{simulator.cdn_url}/img-1.jpg") as reply:
            assert reply.read() == content("img-1.jpg", 100)
        simulator.mutate(put={"more.jpg": 5}, touch=["img-1.jpg"], delete=["img-3.jpg"])
        with urlopen(f"{simulator.cdn_url}/img-1.jpg") as reply:
            assert reply.read() == content("img-1.jpg", 100, 1)
        assert simulator.counters()["requests"] == {"cdn.get": {"200": 2}}
        assert simulator.counters()["duplicates"] == 1
        simulator.reset_counters()
        simulator.clear_faults("503")
        simulator.inject("slow:seconds=0.01")
        simulator.set(cdn_latency=0.01)
        assert simulator.counters()["total"] == 0
        assert (simulator.bucket, simulator.operator, simulator.password) == (
            "demo-bucket",
            "operator",
            "password",
        )
        assert len(list(simulator.contents.walk())) == 10
        pid = simulator.ready.pid
    assert gone(pid)


def test_a_process_ends_with_the_one_that_started_it():
    script = "from upyun_simulator import Simulator; import os; s = Simulator('flat:1').start(); print(s.ready.pid, flush=True); os._exit(0)"
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, check=True)

    wait_until(lambda: gone(int(done.stdout)))


def test_an_interrupt_at_the_terminal_is_for_the_process_that_started_it():
    with Simulator("flat:1,size=10") as simulator:
        os.kill(simulator.ready.pid, signal.SIGINT)
        with urlopen(f"{simulator.cdn_url}/img-0.jpg") as reply:
            assert reply.read() == content("img-0.jpg", 10)


def test_wrong_settings_end_it_with_what_is_wrong(capfd):
    with pytest.raises(RuntimeError, match="did not start"):
        Simulator("nonsense").start()

    assert "unknown spec 'nonsense'" in capfd.readouterr().err


def test_it_is_not_used_before_it_is_started():
    with pytest.raises(RuntimeError, match="not started"):
        _ = Simulator("flat:1").api_url


def test_it_speaks_tls_when_given_a_certificate(tmp_path):
    pem = tmp_path / "both.pem"
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    pem.write_bytes(key.read_bytes() + certificate.read_bytes())

    with Simulator("flat:2,size=10", tls_cert=str(pem)) as simulator:
        assert simulator.cdn_url.startswith("https://")
        with urlopen(
            f"{simulator.cdn_url}/img-1.jpg", context=ssl.create_default_context(cafile=str(certificate))
        ) as reply:
            assert reply.read() == content("img-1.jpg", 10)


def test_the_command_tells_where_it_is_and_ends_on_interrupt(tmp_path):
    ports = tmp_path / "simulator.json"
    script = "from bucketpull.cli.simulate import simulate; simulate()"
    arguments = [
        "--spec",
        "flat:3,size=10",
        "--ports-file",
        str(ports),
        "--fault",
        "429:on=list",
        "--set",
        "empty=object",
        "--bandwidth",
        "10MiB",
    ]
    process = subprocess.Popen([sys.executable, "-c", script, *arguments], stdout=subprocess.PIPE, text=True)
    try:
        wait_until(ports.exists)
        ready = msgspec.json.decode(ports.read_bytes(), type=Ready)
        with urlopen(f"{ready.cdn_url}/img-1.jpg") as reply:
            assert reply.read() == content("img-1.jpg", 10)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0
    assert ready.api_url in output
    assert "upyun://demo-bucket" in output


def test_the_command_lists_every_fault():
    result = CliRunner().invoke(simulate, ["--list-faults"])

    assert result.exit_code == 0
    assert "truncate" in result.output


@pytest.mark.parametrize(
    "arguments",
    [
        ["--fault", "explode"],
        ["--spec", "x"],
        ["--set", "colour=red"],
        ["--bandwidth", "fast"],
        ["--operator", "nobody"],
    ],
)
def test_the_command_refuses_what_it_does_not_know(arguments):
    result = CliRunner().invoke(simulate, arguments)

    assert result.exit_code == 2
    assert "Error" in result.output
