from __future__ import annotations

import pytest

from hsnn.serving.console.request_meter import RequestMeter
from hsnn.serving.metrics import ServingMetrics


def test_rates_and_quantiles_are_those_between_two_readings():
    metrics = ServingMetrics()
    meter = RequestMeter(metrics)
    metrics.requests.labels("retrieve", "200").inc(50)
    metrics.request_seconds.labels("retrieve").observe(2.0)
    before = meter.counts(at=0.0)
    for _ in range(100):
        metrics.requests.labels("retrieve", "200").inc()
        metrics.request_seconds.labels("retrieve").observe(0.007)
    metrics.requests.labels("retrieve", "500").inc(5)
    metrics.requests.labels("console", "200").inc(1000)
    metrics.request_seconds.labels("console").observe(2.0)
    metrics.freshness.observe(0.3)
    metrics.deltas.labels("insert").inc(20)
    rates = meter.rates(before, meter.counts(at=10.0))
    assert rates.requests_per_second == 10.5
    assert rates.errors_per_second == 0.5
    assert 5 <= rates.p50_ms <= rates.p99_ms <= 10
    assert rates.freshness_p50 == pytest.approx(0.375)
    assert (rates.arrived, rates.left) == (2.0, 0.0)


def test_nothing_that_happened_is_no_quantile_and_no_time_no_rate():
    meter = RequestMeter(ServingMetrics())
    before = meter.counts(at=1.0)
    rates = meter.rates(before, meter.counts(at=2.0))
    assert (rates.requests_per_second, rates.p50_ms, rates.freshness_p99) == (0.0, None, None)
    assert set(meter.rates(before, before)) == {None}
