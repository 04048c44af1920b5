"""Which devices reboot more often than they did: a table of all, and charts of one and of many."""

from aiops.reboots.cohort import forest
from aiops.reboots.course import drift
from aiops.reboots.table import RATES, ranked, rates

__all__ = ["RATES", "drift", "forest", "ranked", "rates"]
