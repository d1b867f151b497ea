"""Users, their permissions, and their authentication.

Owns users, memberships (a person's role, and the workspace they work in), sessions, personal access
tokens, one-time links and the count of failed sign-ins. Roles are kept here, below `orgs`, because
nobody can sign in without one; who may change them is decided in `orgs`, which calls this module.
"""
