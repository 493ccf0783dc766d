"""The files for Kubernetes are what its API accepts; those of other tools are at least what they read."""

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
        assert pod["terminationGracePeriodSeconds"] >= 60
        for container in pod["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


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
        assert (EXAMPLES / "compose" / service["build"]["context"]).resolve() == EXAMPLES.parent
