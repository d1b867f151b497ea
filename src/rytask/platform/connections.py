"""How many connections to PostgreSQL one process opens, added up in one place."""

POOL_SIZE = 10
ASYNC_COMMIT_POOL_SIZE = 4
"""For what need not wait for the disk: the bookkeeping of jobs, and the numbers of items."""


def max_connections(pool_size: int = POOL_SIZE) -> int:
    """So many to read, as many to write, and a few more. Nothing listens."""
    return 2 * pool_size + ASYNC_COMMIT_POOL_SIZE
