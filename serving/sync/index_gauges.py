"""What a follower shows of its index in the metrics of a server."""

from __future__ import annotations

from hsnn.serving.metrics import ServingMetrics


class IndexGauges:
    """Shows the server's own index."""

    def __init__(self, metrics: ServingMetrics) -> None:
        self._metrics = metrics

    def show_version(self, number: int, nodes: int) -> None:
        """Show which version answers, and how many nodes it has."""
        self._metrics.version.set(number)
        self._metrics.nodes.set(nodes)

    def show_state(self, watermark: int, items: int, index_share: float) -> None:
        """Show up to where states are known, epoch ms; the retrievable items; and the share that the index yields."""
        self._metrics.watermark.set(watermark / 1000)
        self._metrics.items.set(items)
        self._metrics.index_share.set(index_share)

    def show_held(self, items: int) -> None:
        """Show how many items are held whose announced ends came all at once."""
        self._metrics.expiry_held.set(items)

    def observe_freshness(self, seconds: float) -> None:
        """Count the time from the sending of a new item until it can be returned."""
        self._metrics.freshness.observe(seconds)


class ArmIndexGauges(IndexGauges):
    """Shows what is needed of the index of another loop, under its prefix; the rest is in the metrics of that loop."""

    def __init__(self, metrics: ServingMetrics, prefix: str) -> None:
        super().__init__(metrics)
        self._version = metrics.arm_version.labels(prefix)
        self._items, self._watermark = metrics.arm_items.labels(prefix), metrics.arm_watermark.labels(prefix)

    def show_version(self, number: int, nodes: int) -> None:  # noqa: ARG002 - as of the server's own
        """Show which version answers."""
        self._version.set(number)

    def show_state(self, watermark: int, items: int, index_share: float) -> None:  # noqa: ARG002 - as above
        """Show up to where states are known, epoch ms, and the retrievable items."""
        self._watermark.set(watermark / 1000)
        self._items.set(items)

    def show_held(self, items: int) -> None:
        """Show nothing: the scheduler of that loop does."""

    def observe_freshness(self, seconds: float) -> None:
        """Count nothing: the figure is that of the server's own index."""
