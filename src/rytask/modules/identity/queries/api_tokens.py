"""Personal access tokens. They are looked up by their hash before one knows whose they are."""

from datetime import datetime
from typing import LiteralString

from rytask.modules.identity.model import ApiToken, TokenId, TokenInUse
from rytask.platform.db import Reader, Tx
from rytask.platform.ids import OrgId, UserId

_COLUMNS: LiteralString = "id, name, type, scopes, last_used_at, expires_at, created_at"


async def of(db: Reader, org_id: OrgId, user_id: UserId) -> list[ApiToken]:
    return await db.all(
        ApiToken,
        f"SELECT {_COLUMNS} FROM api_tokens"
        " WHERE org_id = $1 AND user_id = $2 AND revoked_at IS NULL ORDER BY id DESC",
        org_id,
        user_id,
    )


async def insert(
    tx: Tx, org_id: OrgId, user_id: UserId, token: ApiToken, token_hash: bytes
) -> None:
    await tx.execute(
        "INSERT INTO api_tokens (id, org_id, user_id, type, name, token_hash, scopes, expires_at,"
        "                        created_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        token.id,
        org_id,
        user_id,
        token.type,
        token.name,
        token_hash,
        token.scopes,
        token.expires_at,
        token.created_at,
    )


async def revoke(
    tx: Tx, org_id: OrgId, user_id: UserId, token_id: TokenId, now: datetime
) -> ApiToken:
    """Raises NotFound when the person has no such token (any more)."""
    return await tx.one(
        ApiToken,
        "UPDATE api_tokens SET revoked_at = $4"
        " WHERE org_id = $1 AND user_id = $2 AND id = $3 AND revoked_at IS NULL"
        f" RETURNING {_COLUMNS}",
        org_id,
        user_id,
        token_id,
        now,
    )


async def revoke_all(tx: Tx, org_id: OrgId, user_id: UserId, now: datetime) -> list[ApiToken]:
    """Revoke all tokens of a person; those that were."""
    return await tx.all(
        ApiToken,
        "UPDATE api_tokens SET revoked_at = $3"
        " WHERE org_id = $1 AND user_id = $2 AND revoked_at IS NULL"
        f" RETURNING {_COLUMNS}",
        org_id,
        user_id,
        now,
    )


async def in_use(db: Reader, token_hash: bytes, now: datetime) -> TokenInUse | None:
    """A token that is good now, of somebody who was not removed."""
    return await db.maybe(
        TokenInUse,
        "SELECT t.id, t.org_id, t.user_id, t.type, t.scopes, t.last_used_at,"
        "       t.expires_at, m.role, m.workspace_id"
        "  FROM api_tokens t JOIN memberships m ON m.org_id = t.org_id AND m.user_id = t.user_id"
        " WHERE t.token_hash = $1 AND t.revoked_at IS NULL"
        "   AND (t.expires_at IS NULL OR t.expires_at > $2) AND m.deactivated_at IS NULL",
        token_hash,
        now,
    )


async def mark_used(tx: Tx, org_id: OrgId, token_id: TokenId, now: datetime) -> None:
    await tx.execute(
        "UPDATE api_tokens SET last_used_at = $3 WHERE org_id = $1 AND id = $2",
        org_id,
        token_id,
        now,
    )
