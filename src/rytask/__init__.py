"""RyTask: an issue tracker that a team hosts itself."""
