"""The number of PostgreSQL connections of one process, added up in one place."""

POOL_SIZE = 10
ASYNC_COMMIT_POOL_SIZE = 4
"""For what need not wait for the disk: the bookkeeping of jobs, and the numbers of items."""


def max_connections(pool_size: int = POOL_SIZE) -> int:
    """So many to read, as many to write, and a few more. Nothing listens."""
    return sum(reading(pool_size)) + pool_size + ASYNC_COMMIT_POOL_SIZE


def reading(pool_size: int) -> tuple[int, int]:
    """Of those to read: so many keep the plans of statements, and so many plan each run."""
    custom_plans = max(1, pool_size // 3)
    return max(1, pool_size - custom_plans), custom_plans
