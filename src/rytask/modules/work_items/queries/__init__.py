"""The SQL of work items, by purpose."""
