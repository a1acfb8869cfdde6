"""What Prometheus is told: the metrics that nobody else has, and where to find all of them."""
