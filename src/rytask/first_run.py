"""The first run: one organization, its owner and a project to start with, in one transaction."""

from typing import Annotated

import msgspec

from rytask.modules.orgs import service as orgs
from rytask.platform.http import Body, Routes
from rytask.platform.work import Work

routes = Routes("first run")
_LOCK = 7_239_181_403


class Availability(msgspec.Struct, frozen=True):
    """Whether nobody has set this installation up yet."""

    available: bool


class FirstRun(Body):
    organization_name: Annotated[str, msgspec.Meta(min_length=1, max_length=120)]
    owner_name: Annotated[str, msgspec.Meta(min_length=1, max_length=120)]
    owner_email: Annotated[str, msgspec.Meta(min_length=3, max_length=254)]
    owner_password: Annotated[str, msgspec.Meta(min_length=8, max_length=200)]


@routes.route("GET", "/setup", permission=None, operation_id="get_setup")
async def get_setup(work: Work) -> Availability:
    """Say whether this installation still waits for its first organization."""
    return Availability(not await orgs.any_exists(work.database.reader))
