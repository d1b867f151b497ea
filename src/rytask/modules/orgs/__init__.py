"""Organizations, their settings and workspaces, who belongs to them, and how one joins.

Owns organizations, workspaces and invitations. Accounts and roles are kept by `identity`; who may
give, take or change them is decided here.
"""
