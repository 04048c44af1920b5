"""A seeded fleet simulator: telemetry as messy as the real thing, with the truth beside it."""

from aiops.connectors.simulator.export import simulate_to_parquet
from aiops.connectors.simulator.scenario import SCENARIOS, Fault, Scenario
from aiops.connectors.simulator.simulation import SCHEMA, Simulation
from aiops.connectors.simulator.truth import TRUTH

__all__ = ["SCENARIOS", "SCHEMA", "TRUTH", "Fault", "Scenario", "Simulation", "simulate_to_parquet"]
