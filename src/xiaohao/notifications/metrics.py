"""What the deliverer counts, for Prometheus. No customer, URL or number is ever a label."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_BUCKETS = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0, 3600.0)


class DeliveryMetrics:
    """Counters of one worker."""

    def __init__(self, registry: CollectorRegistry) -> None:
        tries = Counter(
            "xiaohao_delivery_tries", "Tries to deliver an event", ("outcome",), registry=registry
        )
        self.delivered = tries.labels("delivered")
        self.failed = tries.labels("failed")
        self.given_up = tries.labels("given_up")
        self.seconds = Histogram(
            "xiaohao_delivery_seconds",
            "From the storing of an event to its acceptance by the customer",
            buckets=_BUCKETS,
            registry=registry,
        )
        self.flying = Gauge("xiaohao_deliveries_under_way", "POSTs under way", registry=registry)
        self.customers = Gauge(
            "xiaohao_delivery_customers", "Customers this worker delivers to", registry=registry
        )
        self.due = Gauge(
            "xiaohao_events_due", "Events that wait for delivery or for a retry", registry=registry
        )
        self.oldest = Gauge(
            "xiaohao_events_oldest_due_seconds", "For how long the oldest has been due", registry=registry
        )
