"""Proofs of what RyTask promises while its parts die: `make chaos`.

Every part is a real process of this machine, killed and started again as the proof asks; only
Slack is a stand-in. Each proof has an installation of its own.
"""
