"""Reactions of projects to facts about members of the organization."""

from rytask.modules.identity.events import MemberRemoved
from rytask.modules.projects import queries
from rytask.modules.projects.events import ProjectMemberSet
from rytask.platform.events import RecordedFact
from rytask.platform.ids import UserId
from rytask.platform.reactions import on
from rytask.platform.work import Writing


@on(MemberRemoved)
async def end_project_roles(ctx: Writing, recorded: RecordedFact, fact: MemberRemoved) -> None:
    """End the roles that a removed member had in projects, so that they come back without.

    What they were given since, should they be back already, stays.
    """
    user_id = UserId(fact.subject_id)
    for project_id in await queries.remove_from_all(ctx.db, ctx.org_id, user_id, recorded.at):
        ctx.record(
            ProjectMemberSet(
                subject_id=project_id, project_id=project_id, user_id=user_id, role=None
            )
        )
