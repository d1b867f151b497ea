"""PostgreSQL and Valkey of our own, and the supervisor that runs them and RyTask itself."""

from rytask.platform.engines.data_dir import saved_settings
from rytask.platform.engines.servers import Engines, embedded
from rytask.platform.engines.up import Plan, run_engines, run_up, running

__all__ = ["Engines", "Plan", "embedded", "run_engines", "run_up", "running", "saved_settings"]
