"""The SQL of Slack, by subject."""
