"""What the switch counts. No label holds a number, a call or a customer."""

from prometheus_client import Counter, Gauge, Histogram

CALLS_ENDED = Counter("xiaohao_calls_ended", "Calls that ended, by the platform's reason", ["reason"])
CALLS_LIVE = Gauge("xiaohao_calls_live", "Calls in progress")
CALLS_ANSWERED = Counter("xiaohao_calls_answered", "Calls that were answered")
DECISION_SECONDS = Histogram(
    "xiaohao_decision_seconds",
    "From the edge's question to the answer",
    buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2),
)
CALLS_UNCOUNTED = Counter(
    "xiaohao_calls_uncounted",
    "Calls that a policy counts, let through because counting took too long or failed",
)
POLICIES_IN_FORCE = Gauge(
    "xiaohao_policies_in_force_timestamp_seconds",
    "Unix time at which the switch was last known to use the policies of the database",
)
CALLS_TURNED_AWAY = Counter(
    "xiaohao_calls_turned_away", "Calls refused without a CDR because too many came at once"
)
CALLS_PER_SECOND_LIMIT = Gauge(
    "xiaohao_calls_per_second_limit", "New calls a second that are let in under overload; 0 = all that come"
)
RECORDING_STOPPED = Gauge(
    "xiaohao_recording_stopped", "1 while calls are not recorded because the captures' disk is full"
)
CAPTURES_FREE = Gauge("xiaohao_captures_free_bytes", "Room on the disk on which captures lie")
JOURNAL_DEPTH = Gauge("xiaohao_journal_depth", "Changes of calls that are not in the database yet")
JOURNAL_REJECTED = Gauge(
    "xiaohao_journal_rejected",
    "Changes of calls that can never be written; each is in the log",
)
EDGE_CONNECTED = Gauge("xiaohao_edge_connected", "1 while Kamailio is connected")
EDGE_MEMORY_FREE = Gauge("xiaohao_edge_memory_free", "Part of Kamailio's shared memory that is free, 0 to 1")
MEDIA_CONNECTED = Gauge("xiaohao_media_connected", "1 while rtpengine answers")
STRANGERS_BANNED = Counter("xiaohao_strangers_banned", "Addresses banned because no trunk sends from them")
TRUNKS_IN_FORCE = Gauge(
    "xiaohao_trunks_in_force_timestamp_seconds",
    "Unix time at which the edge was last known to use the trunks of the database",
)
TARGET_UP = Gauge("xiaohao_trunk_target_up", "1 while a trunk's target answers OPTIONS", ["target"])
