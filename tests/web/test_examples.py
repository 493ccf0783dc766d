"""The dashboard and the alert rules in examples/ use metrics and labels that exist."""

import json
import re
from pathlib import Path

import pytest

from bucketpull.web import metrics

FOLDER = Path(__file__).parents[2] / "examples" / "monitoring"


def expressions(name):
    text = (FOLDER / name).read_text()
    if name.endswith(".json"):
        return [target["expr"] for panel in json.loads(text)["panels"] for target in panel["targets"]]
    return re.findall(r"expr: (?:\|\n((?: {10}.*\n)+)|(.*)\n)", text)


@pytest.mark.parametrize("name", ["grafana-dashboard.json", "alerts.yml"])
def test_every_metric_and_label_value_in_the_examples_exists(serve, name):
    snapshot = serve().panel.snapshot()
    exposed = metrics.exposition(lambda: snapshot).decode()
    found = [" ".join(part) if isinstance(part, tuple) else part for part in expressions(name)]
    text = " ".join(found)

    assert len(found) >= 8
    for metric in set(re.findall(r"\bbucketpull_\w+", text)):
        assert f"\n{metric}" in exposed, metric
    for label, _, values in re.findall(r'\b(state|outcome|bound|by|lane|reason)=(~?)"([\w|-]+)"', text):
        for value in values.split("|"):
            assert f'{label}="{value}"' in exposed
