"""Alert rules: accepted by promtool, fired by the figures that they are for, silent else, over metrics that exist."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

import hsnn.streaming.consumer.out_of_range  # noqa: F401 - for its metrics
from tests.paths import ROOT
from tests.project.test_compose import PROMETHEUS, ROLES, SERVICES, known_metrics

RULES = ROOT / "deploy" / "alerts" / "hsnn.yml"
ALERTS: dict[str, dict[str, Any]] = {
    rule["alert"]: rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
}

# Series that fire an alert within ninety minutes: name -> values in promtool's notation, one a minute. What a rule
# divides or compares is there, too.
FIRING: dict[str, dict[str, str]] = {
    "RoleIsDown": {'up{job="trainer",instance="a"}': "1 0x90"},
    "EventsAreNotTrained": {
        'hsnn_lag_records{job="trainer"}': "9x90",
        'hsnn_events_total{job="trainer",outcome="trained"}': "500x90",
    },
    "TrainerFallsBehind": {'hsnn_lag_seconds{job="trainer"}': "0+5x90"},
    "ManyDeadLetters": {
        'hsnn_events_total{job="trainer",outcome="trained"}': "0+90x90",
        'hsnn_events_total{job="trainer",outcome="dead_lettered"}': "0+10x90",
    },
    "RecordsAreLost": {'hsnn_records_lost_total{job="trainer",topic="engagements"}': "0x60 7x30"},
    "TransactionIsLeftOpen": {'hsnn_uncommitted_records{job="trainer"}': "3x90"},
    "ClockIsWrong": {'hsnn_clock_ahead_seconds{job="server",instance="a"}': "-3600x90"},
    "CheckpointsFail": {'hsnn_checkpoints_failed_total{job="trainer"}': "0+0.2x90"},
    "RedisRefusesWrites": {'hsnn_redis_refused_total{job="trainer",write="state"}': "0+1x90"},
    "SnapshotsAreHeldBack": {'hsnn_snapshots_held{job="trainer"}': "1x90"},
    "SnapshotsAreNotAdopted": {'hsnn_snapshots_unadopted_seconds{job="trainer"}': "0+60x90"},
    "ExpiryIsHeld": {'hsnn_expiry_held_items{job="trainer"}': "100x90"},
    "ServedFallsToPopularity": {
        'hsnn_prequential_recall{job="trainer",method="served",at="20"}': "0.08x90",
        'hsnn_prequential_recall{job="trainer",method="popularity",at="20"}': "0.1x90",
    },
    "NotOneLeader": {
        'hsnn_scheduler_leading{job="scheduler",instance="a"}': "1x90",
        'hsnn_scheduler_leading{job="scheduler",instance="b"}': "1x90",
    },
    "JobsFail": {'hsnn_job_runs_total{job="build",outcome="failed"}': "0+1x90"},
    "ItemsVanish": {'hsnn_index_items{job="scheduler"}': "1000x70 400x20"},
    "ServerIsBehind": {
        'hsnn_index_version{job="scheduler",instance="a"}': "7x90",
        'hsnn_index_version{job="server",instance="b"}': "6x90",
    },
    "ItemsArriveLate": {
        'hsnn_freshness_seconds_bucket{job="server",le="10.0"}': "0+50x90",
        'hsnn_freshness_seconds_bucket{job="server",le="30.0"}': "0+100x90",
        'hsnn_freshness_seconds_bucket{job="server",le="+Inf"}': "0+100x90",
    },
    "RequestsFail": {
        'hsnn_requests_total{job="server",endpoint="retrieve",status="200"}': "0+90x90",
        'hsnn_requests_total{job="server",endpoint="retrieve",status="503"}': "0+10x90",
    },
    "RequestsAreSlow": {
        'hsnn_request_seconds_bucket{job="server",endpoint="retrieve",le="0.25"}': "0+50x90",
        'hsnn_request_seconds_bucket{job="server",endpoint="retrieve",le="0.5"}': "0+100x90",
        'hsnn_request_seconds_bucket{job="server",endpoint="retrieve",le="+Inf"}': "0+100x90",
    },
    "WorkersKeepEnding": {'hsnn_worker_restarts_total{job="server",instance="a",worker="1"}': "0+1x90"},
    "EventsOverHttpAreNotTaken": {'hsnn_ingest_failures_total{job="server",instance="a"}': "0+1x90"},
    "LeavesAreDamaged": {'hsnn_leaves_damaged_total{job="server",instance="a"}': "0x70 2x20"},
}

# A system that is well: nothing may fire.
WELL = {
    'up{job="trainer",instance="a"}': "1x90",
    'hsnn_lag_records{job="trainer"}': "5 0 9 3x87",
    'hsnn_lag_seconds{job="trainer"}': "900-10x90",  # a backlog that shrinks
    'hsnn_events_total{job="trainer",outcome="trained"}': "0+1000x90",
    'hsnn_events_total{job="trainer",outcome="dead_lettered"}': "0+1x90",
    'hsnn_records_lost_total{job="trainer",topic="engagements"}': "0x90",
    'hsnn_uncommitted_records{job="trainer"}': "0 4 0x88",
    'hsnn_clock_ahead_seconds{job="server",instance="a"}': "0x30 -3600 0x59",
    'hsnn_checkpoints_failed_total{job="trainer"}': "0x90",
    'hsnn_redis_refused_total{job="trainer",write="state"}': "0x90",
    'hsnn_snapshots_held{job="trainer"}': "0x30 1x10 0x50",
    'hsnn_snapshots_unadopted_seconds{job="trainer"}': "30x90",
    'hsnn_expiry_held_items{job="trainer"}': "0x90",
    'hsnn_prequential_recall{job="trainer",method="served",at="20"}': "0.2x90",
    'hsnn_prequential_recall{job="trainer",method="popularity",at="20"}': "0.1x90",
    'hsnn_scheduler_leading{job="scheduler",instance="a"}': "1x90",
    'hsnn_scheduler_leading{job="scheduler",instance="b"}': "0x90",
    'hsnn_job_runs_total{job="build",outcome="done"}': "0+1x90",
    'hsnn_job_runs_total{job="build",outcome="failed"}': "0x45 1x45",
    'hsnn_index_items{job="scheduler"}': "1000-1x90",
    'hsnn_index_version{job="scheduler",instance="a"}': "1+1x90",
    'hsnn_index_version{job="server",instance="b"}': "1+1x90",
    'hsnn_freshness_seconds_bucket{job="server",le="10.0"}': "0+100x90",
    'hsnn_freshness_seconds_bucket{job="server",le="+Inf"}': "0+100x90",
    'hsnn_requests_total{job="server",endpoint="retrieve",status="200"}': "0+1000x90",
    'hsnn_requests_total{job="server",endpoint="retrieve",status="503"}': "0+1x90",
    'hsnn_request_seconds_bucket{job="server",endpoint="retrieve",le="0.25"}': "0+100x90",
    'hsnn_request_seconds_bucket{job="server",endpoint="retrieve",le="+Inf"}': "0+100x90",
    'hsnn_worker_restarts_total{job="server",instance="a",worker="1"}': "0x45 1x45",
    'hsnn_ingest_failures_total{job="server",instance="a"}': "0x90",
    'hsnn_leaves_damaged_total{job="server",instance="a"}': "0x90",
}


def promtool(*arguments: str | Path) -> None:
    tool = shutil.which("promtool")
    if tool is None:
        assert not os.environ.get("REQUIRE_PROMTOOL"), "promtool is required and not installed"
        pytest.skip("promtool is not installed: apt-get install prometheus")
    done = subprocess.run([tool, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def firing(series: dict[str, str], expected: dict[str, int], *minutes: int) -> dict[str, Any]:
    """A test of promtool: how many times each alert fires after so many minutes."""
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": f'count(ALERTS{{alertname="{alert}",alertstate="firing"}})',
                "eval_time": f"{minute}m",
                "exp_samples": [{"labels": "{}", "value": count}] if count else [],
            }
            for alert, count in expected.items()
            for minute in minutes
        ],
    }


def test_the_rules_are_valid():
    promtool("check", "rules", RULES)


@pytest.mark.slow  # promtool keeps a database per alert
def test_every_alert_fires_and_nothing_fires_on_a_system_that_is_well(tmp_path):
    assert FIRING.keys() == ALERTS.keys()
    tests = [firing(series, {alert: 1}, 90) for alert, series in FIRING.items()]
    tests.append(firing(WELL, dict.fromkeys(ALERTS, 0), *range(10, 91, 10)))
    file = tmp_path / "test.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests}))
    promtool("test", "rules", file)


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_names_metrics_roles_and_pages_that_exist(alert):
    rule, known = ALERTS[alert], known_metrics()
    names = set(re.findall(r"\bhsnn_\w+", rule["expr"]))
    assert names <= set(known)
    labels = set.union({"job", "instance", "le"}, *(known[name] for name in names))
    used = set(re.findall(r"(\w+)=~?\"", rule["expr"]))
    used |= {label for group in re.findall(r"by \(([^)]*)\)", rule["expr"]) for label in group.split(", ")}
    assert used | set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"])) <= labels
    assert set(re.findall(r'job="(\w+)"', rule["expr"])) <= set(ROLES)
    assert rule["labels"]["severity"] in ("page", "ticket")
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    headings = re.findall(r"^#+ (.*)$", (ROOT / page).read_text(), re.MULTILINE)
    assert anchor in {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_prometheus_reads_the_rules():
    (files,) = PROMETHEUS["rule_files"]
    assert f"./deploy/alerts:{Path(files).parent}:ro" in SERVICES["prometheus"]["volumes"]
    assert RULES.match(Path(files).name)
