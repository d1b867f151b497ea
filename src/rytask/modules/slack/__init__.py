"""Work from Slack: a line typed there becomes one work item, and is confirmed once.

Owns the connection of an organization to a Slack workspace, its people and channels, and the
captures: what was acknowledged to Slack is kept. Other modules see this one through its facts only.
"""
