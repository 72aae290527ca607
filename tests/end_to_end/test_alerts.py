"""The alert rules fire when they should: Prometheus's own tool tests them, on series that a server really has."""

import re
import shutil
import subprocess

import pytest
import yaml

from .alert_rules import ALERTS, OF_PROMETHEUS, alert_rules

TESTS = ALERTS.with_name("alerts_test.yml")
RULES = alert_rules()
CASES = {case["name"]: case for case in yaml.safe_load(TESTS.read_text())["tests"]}


@pytest.mark.parametrize(
    "arguments",
    [("check", "rules", ALERTS), ("check", "config", ALERTS.with_name("scrape.yml")), ("test", "rules", TESTS)],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_promtool_finds_nothing_wrong(arguments):
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("there is no promtool; Debian has it in the package prometheus")
    done = subprocess.run([promtool, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_its_tests():
    assert list(CASES) == list(RULES)


@pytest.mark.parametrize("name", CASES)
def test_an_alert_is_tested_firing_and_not_firing(name):
    found = {f'alertname="{name}"' in str(it["exp_samples"]) for it in CASES[name]["promql_expr_test"]}
    assert found == {True, False}


@pytest.mark.parametrize("name", CASES)
def test_an_alert_is_tested_on_series_that_there_are(server, name):
    there = [(it.name, it.labels.items()) for it in server.scrape()]
    for it in CASES[name]["input_series"]:
        metric, labels = re.fullmatch(r"(\w+)\{(.*)\}", it["series"]).groups()
        wanted = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        assert wanted.pop("instance"), "Prometheus's own"
        if metric != "up":
            assert any(metric == found and wanted.items() <= labels for found, labels in there), it["series"]


@pytest.mark.parametrize("name", RULES)
def test_an_alert_s_words_name_labels_that_it_has(name):
    kept = re.findall(r"\bby \(([\w, ]+)\)", RULES[name]["expr"])
    labels = {label for found in kept for label in found.split(", ")} if kept else OF_PROMETHEUS
    said = set(re.findall(r"\$labels\.(\w+)", str(RULES[name]["annotations"])))
    assert {"instance"} <= said <= labels - {"le"}
