"""AIOps anomaly detection and placement for edge fleets."""

__all__: list[str] = []
