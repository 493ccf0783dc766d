"""The files for Kubernetes are what its API accepts; those of other tools are at least what they read."""

import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

EXAMPLES = Path(__file__).parents[2] / "examples"
MANIFESTS = [doc for doc in yaml.safe_load_all((EXAMPLES / "kubernetes/bucketpull.yaml").read_text()) if doc]
# The API's own kinds have a schema; that of the Prometheus operator's is not part of them.
OF_THE_API = [manifest for manifest in MANIFESTS if "monitoring.coreos.com" not in manifest["apiVersion"]]


@pytest.mark.parametrize(
    "manifest", OF_THE_API, ids=lambda manifest: f"{manifest['kind']} {manifest['metadata']['name']}"
)
def test_kubernetes_accepts_the_manifest(manifest: dict):
    kubernetes_validate.validate(manifest, "1.31", strict=True)


def test_a_wrong_manifest_would_be_noticed():
    broken = {**OF_THE_API[-1], "spec": {**OF_THE_API[-1]["spec"], "replica": 3}}

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, "1.31", strict=True)


def test_pods_have_no_more_rights_than_they_need():
    pods = [
        manifest["spec"]["template"]["spec"] for manifest in MANIFESTS if manifest["kind"] == "StatefulSet"
    ]

    assert len(pods) == 2
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        assert pod["terminationGracePeriodSeconds"] >= 60
        for container in pod["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_prometheus_has_the_token_that_the_dashboard_asks_for():
    (monitor,) = (manifest for manifest in MANIFESTS if manifest["kind"] == "PodMonitor")
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]

    assert endpoint["authorization"] == {
        "type": "Bearer",
        "credentials": {"name": "photos", "key": "BUCKETPULL_DASHBOARD_TOKEN"},
    }
    coordinator = next(
        m for m in MANIFESTS if m["metadata"]["name"] == "photos-coordinator" and m["kind"] == "StatefulSet"
    )
    (container,) = coordinator["spec"]["template"]["spec"]["containers"]
    assert {"secretRef": {"name": "photos"}} in container["envFrom"]
    assert "0.0.0.0:8377" in container["args"]


def test_a_worker_keeps_its_name_and_its_disk():
    workers = next(
        m for m in MANIFESTS if m["metadata"]["name"] == "photos-worker" and m["kind"] == "StatefulSet"
    )
    container = workers["spec"]["template"]["spec"]["containers"][0]

    assert container["args"][container["args"].index("--machine") + 1] == "$(POD_NAME)"
    assert workers["spec"]["volumeClaimTemplates"][0]["metadata"]["name"] == "volume"


def test_the_image_is_built_from_the_checkout_and_runs_as_an_ordinary_user():
    recipe = (EXAMPLES / "compose/Dockerfile").read_text()
    compose = yaml.safe_load((EXAMPLES / "compose/compose.yaml").read_text())

    assert "COPY . /source" in recipe
    assert "USER 10001" in recipe
    for name in ("coordinate", "work"):
        service = compose["services"][name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["user"] == "10001:10001"
        assert "JOB_KEY" in service["environment"]["BUCKETPULL_JOB_KEY"]
        assert (EXAMPLES / "compose" / service["build"]["context"]).resolve() == EXAMPLES.parent


def test_the_health_check_of_a_coordinator_asks_for_the_page_that_it_serves():
    coordinate = yaml.safe_load((EXAMPLES / "compose/compose.yaml").read_text())["services"]["coordinate"]
    address = coordinate["command"].split(" --dashboard ")[1]

    assert f"http://{address}/" in coordinate["healthcheck"]["test"][-1]


UNITS = sorted((EXAMPLES / "systemd").glob("*.service"))
MOST_EXPOSED = 30  # tenths, of the 10.0 of a unit without any bounds


def exposure_is_at_most(tenths: int, unit: Path) -> bool:
    """Ask systemd how much a unit could do to the machine, without a running systemd."""
    command = ["systemd-analyze", "security", "--offline=true", f"--threshold={tenths}", "--no-pager", unit]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_service_can_do_little_to_its_machine(unit):
    assert exposure_is_at_most(MOST_EXPOSED, unit)
    lines = unit.read_text().splitlines()
    for line in ("User=bucketpull", "NoNewPrivileges=true", "ProtectSystem=strict", "CapabilityBoundingSet="):
        assert line in lines


def test_a_service_without_bounds_would_be_noticed(tmp_path):
    bare = tmp_path / "bare@.service"
    bare.write_text("[Service]\nUser=bucketpull\nExecStart=/bin/true\n")

    assert not exposure_is_at_most(MOST_EXPOSED, bare)
