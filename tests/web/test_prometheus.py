"""A real Prometheus reads the metrics of a job, and accepts every rule and expression in examples/."""

import json
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.web.test_examples import FOLDER, expressions

DEADLINE_SECONDS = 60
POLL_SECONDS = 0.1


class Prometheus:
    """A server on a port that the system chose, with the rules of examples/."""

    def __init__(self, folder: Path, target: str, token: str, rules: Path = FOLDER / "alerts.yml") -> None:
        (folder / "token").write_text(token)
        (folder / "prometheus.yml").write_text(
            f"""
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: [{rules}]
scrape_configs:
  - job_name: bucketpull
    authorization: {{credentials_file: {folder / "token"}}}
    static_configs: [{{targets: ["{target}"]}}]
"""
        )
        self._log = (folder / "log").open("w+")
        self._process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                "--web.listen-address=127.0.0.1:0",
            ],
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        self.address = self._wait(self._find_address)
        self._wait(self._is_ready)

    def _is_ready(self) -> str:
        try:
            with urllib.request.urlopen(f"http://{self.address}/-/ready", timeout=DEADLINE_SECONDS) as answer:
                return answer.read().decode()
        except OSError:
            return ""

    def _find_address(self) -> str:
        """Read from the log where it listens."""
        self._log.seek(0)
        for line in self._log.read().splitlines():
            if "Listening on" in line and "address=" in line:
                return line.rpartition("address=")[2].strip()
        return ""

    def _wait(self, ask: Callable[[], str]) -> str:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not (found := ask()):
            assert self._process.poll() is None, self.log()
            assert time.monotonic() < deadline, self.log()
            time.sleep(POLL_SECONDS)
        return found

    def log(self) -> str:
        self._log.seek(0)
        return self._log.read()

    def get(self, path: str, **query: str) -> dict:
        url = f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=DEADLINE_SECONDS) as answer:
            return json.load(answer)["data"]

    def value(self, expression: str) -> float | None:
        found = self.get("query", query=expression)["result"]
        return float(found[0]["value"][1]) if found else None

    def wait_for(self, expression: str) -> float:
        return float(self._wait(lambda: str(self.value(expression) or "")))

    def wait_for_alert(self, name: str, *, fires: bool) -> None:
        """Wait until an alert fires, or no longer does."""
        expression = f'count(ALERTS{{alertname="{name}", alertstate="firing"}}) or vector(0)'
        self._wait(lambda: "so" if ((self.value(expression) or 0) > 0) is fires else "")

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(30)
        self._log.close()


@pytest.fixture
def scraping(serve, tmp_path: Path) -> Iterator[tuple[Prometheus, object]]:
    served = serve()
    server = Prometheus(tmp_path, f"127.0.0.1:{served.port}", served.token)
    yield server, served
    server.close()


def test_a_prometheus_reads_a_running_job_and_answers_every_expression(scraping):
    server, served = scraping

    assert server.wait_for("up{job='bucketpull'}") == 1.0
    stored = server.value('bucketpull_objects_total{outcome="stored"}')
    now = served.panel.snapshot().counters.stored
    assert stored == pytest.approx(now, rel=0.01)  # the job went on since it was read
    for name in ("grafana-dashboard.json", "alerts.yml"):
        for found in expressions(name):
            expression = (" ".join(found) if isinstance(found, tuple) else found).replace(
                "$__rate_interval", "1m"
            )
            server.get("query", query=expression)


def test_the_rules_are_those_that_a_prometheus_loads(scraping):
    server, _ = scraping

    loaded = [rule["name"] for group in server.get("rules")["groups"] for rule in group["rules"]]

    assert len(loaded) == (FOLDER / "alerts.yml").read_text().count("- alert:")


def test_alerts_of_what_the_source_refuses_and_of_what_fails_fire_and_end(serve, tmp_path: Path):
    rules = tmp_path / "alerts.yml"
    rules.write_text((FOLDER / "alerts.yml").read_text().replace("[30m]", "[6s]"))
    served = serve()
    server = Prometheus(tmp_path, f"127.0.0.1:{served.port}", served.token, rules)
    try:
        server.wait_for('bucketpull_state{state="transferring"}')
        served.panel.failed += served.panel.failed[:1] * 200
        served.panel.ended = "refused"
        for name in ("BucketpullRefused", "BucketpullFailing"):
            server.wait_for_alert(name, fires=True)
        served.panel.ended = ""
        for name in ("BucketpullRefused", "BucketpullFailing"):
            server.wait_for_alert(name, fires=False)
    finally:
        server.close()


def test_promtool_accepts_the_rules():
    done = subprocess.run(
        ["promtool", "check", "rules", FOLDER / "alerts.yml"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr


RULES_TEST = """
rule_files: [{rules}]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - {{series: 'bucketpull_volume_free_bytes{{instance="a", machine="m", volume="v"}}', values: "100x30"}}
      - {{series: 'bucketpull_volume_state{{instance="a", machine="m", volume="v", state="open"}}', values: "1x9 0x20"}}
      - {{series: 'bucketpull_outstanding_bytes{{instance="a"}}', values: "{outstanding}"}}
    alert_rule_test:
{expected}
"""
RETRIED = """
rule_files: [{rules}]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - {{series: 'bucketpull_failures_total{{instance="a", reason="timeout"}}', values: "{failures}"}}
    alert_rule_test:
      - {{eval_time: 5m, alertname: BucketpullFailing, exp_alerts: []}}
      - eval_time: 15m
        alertname: BucketpullFailing
        exp_alerts:
{alerts}
      - {{eval_time: 45m, alertname: BucketpullFailing, exp_alerts: []}}
"""
FAILING = """
          - exp_labels: {severity: warning, instance: a, reason: timeout}
            exp_annotations:
              summary: "200 objects failed in half an hour: timeout"
              description: "bucketpull failures --reason timeout shows the last answers."
"""
ALERT = """
          exp_labels: {severity: warning, instance: a}
          exp_annotations:
            summary: "What is listed already does not fit on the volumes of a"
            description: "FREE are free. Add a volume before they are full."
"""


@pytest.mark.parametrize(
    ("outstanding", "fires"), [("1000x30", {5: None, 15: "0B", 25: "0B"}), ("0x30", {15: None, 25: None})]
)
def test_that_the_rest_does_not_fit_is_told_too_when_no_volume_is_open_any_more(tmp_path, outstanding, fires):
    """It went from firing to resolved at the moment at which the last volume was full."""
    expected = "\n".join(
        f"      - eval_time: {minute}m\n        alertname: BucketpullVolumesFillUp\n        exp_alerts: "
        + ("[]" if free is None else "\n        - " + ALERT.strip().replace("FREE", free))
        for minute, free in fires.items()
    )
    (tmp_path / "test.yml").write_text(
        RULES_TEST.format(rules=FOLDER / "alerts.yml", outstanding=outstanding, expected=expected)
    )

    done = subprocess.run(
        ["promtool", "test", "rules", tmp_path / "test.yml"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("failures", "alerts"),
    [("500x9 700x60", FAILING), ("500x9 480x60", "          []"), ("500x9 0x2 200x60", FAILING)],
    ids=["more fail", "some of many are tried again", "all are tried again, and some fail again"],
)
def test_failures_that_are_tried_again_are_none_that_came(tmp_path, failures, alerts):
    """A counter that falls begins anew for `increase`: what was left seemed to have failed in this half hour."""
    (tmp_path / "test.yml").write_text(
        RETRIED.format(rules=FOLDER / "alerts.yml", failures=failures, alerts=alerts)
    )

    done = subprocess.run(
        ["promtool", "test", "rules", tmp_path / "test.yml"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
