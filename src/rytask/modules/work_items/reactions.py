"""Reactions of items to facts about projects."""

from rytask.modules.projects.events import ProjectDeleted
from rytask.modules.work_items import bulk
from rytask.platform.events import RecordedFact
from rytask.platform.ids import ProjectId
from rytask.platform.reactions import on
from rytask.platform.work import Writing


@on(ProjectDeleted)
async def erase(ctx: Writing, recorded: RecordedFact, fact: ProjectDeleted) -> None:
    """Nobody sees a deleted project any more; its rows go in small steps."""
    await bulk.erase_project(ctx, ProjectId(fact.subject_id))
