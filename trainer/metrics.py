"""Metrics of the trainer."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

EVENTS = Counter("hsnn_events_total", "Engagement events, by outcome.", ["outcome"])
OFF_TIME = Counter(
    "hsnn_events_off_time_total", "Engagements further than streaming.max_future from stream time, by side.", ["side"]
)
DROPPED = Counter("hsnn_events_dropped_total", "Engagement events that were read but not trained on.", ["reason"])
JUDGED = Counter(
    "hsnn_judgements_total", "Shown items labelled: when due, or early because the buffer was full.", ["when"]
)
LATE_ACTIONS = Counter("hsnn_late_actions_total", "Actions on items that had been labelled already.")
PENDING = Gauge("hsnn_impressions_pending", "Impressions that wait for the label of their last item.")
LAG_RECORDS = Gauge("hsnn_lag_records", "Records between the read position and the end of the log.")
UNCOMMITTED_RECORDS = Gauge(
    "hsnn_uncommitted_records", "Records of the log from the first open transaction on, which cannot be read yet."
)
LAG_SECONDS = Gauge("hsnn_lag_seconds", "Age of the oldest record that is not trained on yet, from its sending.")
RATE = Gauge("hsnn_events_per_second", "Events trained per second over the last seconds.")
LOSS = Gauge("hsnn_loss", "Item-level loss of new batches, running mean, nats.")
NODE_LOSS = Gauge("hsnn_node_loss", "Node-level loss of new batches, running mean, nats.")
WATERMARK = Gauge("hsnn_watermark_seconds", "Largest event time so far, epoch seconds.")
RECALL = Gauge(
    "hsnn_prequential_recall", "Share of the last live queries whose next item was among the first k.", ["method", "at"]
)
QUERIES = Counter("hsnn_prequential_queries_total", "Live prequential queries.", ["outcome"])
ID_ROWS = Gauge(
    "hsnn_id_rows", "Rows of the id tables: assigned, free, or in quarantine before reuse.", ["table", "state"]
)
IDS = Counter(
    "hsnn_ids_total",
    "Ids that were admitted (of them: to a reused row), refused, expired or evicted.",
    ["table", "outcome"],
)
UNNAMED_ACTIONS = Counter(
    "hsnn_unnamed_actions_total", "Engagements learned with weight 1 because their action is in no table."
)
LEFT_OUT_FEATURES = Counter(
    "hsnn_left_out_features_total", "Feature values that the model does not see because there are too many of them."
)
REBALANCES = Counter("hsnn_rebalances_total", "Commands to rebalance the nodes, by outcome.", ["outcome"])
REDIS_REFUSED = Counter("hsnn_redis_refused_total", "Writes of the trainer that Redis refused.", ["write"])
UNADOPTED_SECONDS = Gauge(
    "hsnn_snapshots_unadopted_seconds", "Age of the oldest snapshot that is newer than the version in use."
)
EXPIRY_HELD = Gauge("hsnn_expiry_held_items", "Items that would have expired at once and are held; 0: none.")
HELD = Gauge("hsnn_snapshots_held", "1 while snapshots are held back because the loss is far above the usual.")
STEP_SECONDS = Histogram(
    "hsnn_step_seconds", "Time of one training step.", buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5)
)
FIT_WAIT = Histogram(
    "hsnn_node_fit_wait_seconds",
    "Time that a step waited for k-means over the items, which a thread had to finish by then.",
    buckets=(0.001, 0.01, 0.05, 0.1, 0.5, 1, 5),
)
CHECKPOINT_SECONDS = Histogram("hsnn_checkpoint_seconds", "Time from a checkpoint's start to its durability.")
CHECKPOINTS_FAILED = Counter("hsnn_checkpoints_failed_total", "Checkpoints that could not be written.")
CHECKPOINT_PAUSE = Histogram(
    "hsnn_checkpoint_pause_seconds",
    "Time that training waited at once for a checkpoint's copies.",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5),
)

ITEM_EVENTS = Counter(
    "hsnn_item_events_total",
    "Events about items: applied, older than what is known, or patches of items that are not known.",
    ["outcome"],
)
UNANNOUNCED = Counter("hsnn_unannounced_events_total", "Events trained on items that nobody announced.")
RESTATED = Counter("hsnn_items_restated_total", "Items appended to the items topic again, whole.")
