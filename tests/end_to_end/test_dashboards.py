"""The Grafana dashboard and the alert rules ask for metrics, and labels of them, that a server really has."""

import json
import re

import promql_parser
import pytest

from .alert_rules import DEPLOY, OF_PROMETHEUS, alert_rules
from .golden_case import golden_case
from .wire import ask

SELECTOR = re.compile(r"\b([a-z_]+)\{([^}]*)\}")
MATCHER = re.compile(r'(\w+)(=~|!=|=)"([^"]*)"')


def panels():
    dashboard = json.loads((DEPLOY / "grafana" / "alpamayo.json").read_text())
    return {
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in dashboard["panels"]
        for target in panel["targets"]
    }


QUERIES = panels() | {name: rule["expr"] for name, rule in alert_rules().items()}


@pytest.fixture(scope="module")
def samples(server, triton):
    ask(triton, golden_case("greedy").inputs, {"max_generation_length": 2, "inference_steps": 1})
    return server.scrape()


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_asks_for_what_there_is(samples, name):
    query = QUERIES[name].replace("$__rate_interval", "1m").replace("$instance", ".*")
    promql_parser.parse(query)  # raises what is wrong with it
    selectors = SELECTOR.findall(query)
    names = re.findall(r"\b(?:alpamayo|nv)_\w+|\bup\b", re.sub('"[^"]*"', "", query))
    assert [metric for metric, _ in selectors] == names, "a metric without {...}"
    for metric, matchers in selectors:
        if metric == "up":  # Prometheus's own
            continue
        there = [it for it in samples if it.name == metric]
        for label, operator, value in MATCHER.findall(matchers):
            if label not in OF_PROMETHEUS:
                known = {it.labels[label] for it in there}
                assert value in known or operator == "=~", (metric, label, value, known)
        assert there, metric


def test_what_a_query_groups_by_are_labels(samples):
    labels = {label for it in samples for label in it.labels} | OF_PROMETHEUS
    for name, query in QUERIES.items():
        for found in re.findall(r"\b(?:by|without|ignoring)\s*\(([\w, ]+)\)", query):
            assert {it.strip() for it in found.split(",")} <= labels, name
