"""What is counted of scheme 2. Only a customer's id is a label that names anybody; no number is ever one."""

from prometheus_client import Counter, Gauge, Histogram

SECONDS = Histogram(
    "xiaohao_routing_seconds",
    "How long a call waited for its customer's decision",
    ["customer"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.2, 2),
)
ASKED = Counter(
    "xiaohao_routing_asked",
    "Calls whose customer was to be asked, by what came of it",
    ["customer", "verdict"],
)
DECIDED = Counter(
    "xiaohao_routing_decided", "The same, by who decided in the end", ["customer", "decided_by"]
)
BREAKER = Gauge(
    "xiaohao_routing_breaker_open",
    "1 while a customer's URL is left alone because it did not answer",
    ["customer", "url"],
)
CALLS_WAITING = Gauge(
    "xiaohao_routing_calls_waiting", "Callers who wait until their customer says whom to call", ["customer"]
)
WAITING = Gauge("xiaohao_routing_questions_waiting", "Questions to customers that wait for their answers")
