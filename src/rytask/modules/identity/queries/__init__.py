"""The SQL of identity, by subject."""
