"""deploy/prometheus, as the tests read it."""

from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
ALERTS = DEPLOY / "prometheus" / "alerts.yml"
OF_PROMETHEUS = {"instance", "job"}  # labels that it adds itself


def alert_rules() -> dict[str, dict[str, Any]]:
    """By the alert's name."""
    (group,) = yaml.safe_load(ALERTS.read_text())["groups"]
    return {rule["alert"]: rule for rule in group["rules"]}
