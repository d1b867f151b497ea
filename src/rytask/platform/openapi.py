"""The OpenAPI 3.1 document and its page, derived from the routes."""

import re
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

import msgspec

from rytask.platform.http import Route
from rytask.platform.problems import Problem

_METHODS_WITH_BODY = ("POST", "PATCH", "PUT")


def document(routes: Iterable[Route], version: str) -> dict[str, Any]:
    """Describe every route that is not hidden."""
    shown = [route for route in routes if not route.hidden]
    wanted = [Problem, *filter(None, (_body(route) for route in shown))]
    wanted += [route.returns for route in shown if _has_schema(route)]
    schemas, components = msgspec.json.schema_components(
        wanted, ref_template="#/components/schemas/{name}"
    )
    schema_of = {id(kind): schema for kind, schema in zip(wanted, schemas, strict=True)}
    paths: dict[str, dict[str, Any]] = {}
    for route in shown:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schema_of)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "RyTask",
            "version": version,
            "summary": "Capture work in seconds, track time honestly, be told once.",
            "license": {"name": "AGPL-3.0-or-later", "identifier": "AGPL-3.0-or-later"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": tag} for tag in dict.fromkeys(route.tag for route in shown)],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An access token, or a personal access token (rytask_pat_…).",
                }
            },
            "headers": {
                "X-Request-Id": _header("Names this request in the logs."),
                "RateLimit": _header("What is left: `r` requests, `t` seconds until it is full."),
                "RateLimit-Policy": _header("The quota: `q` requests in `w` seconds."),
            },
        },
    }


def _header(description: str) -> dict[str, Any]:
    return {"description": description, "schema": {"type": "string"}}


def _body(route: Route) -> Any:
    return route.body_type


def _has_schema(route: Route) -> bool:
    returns = route.returns
    return returns is not type(None) and getattr(returns, "__name__", "") != "Answer"


def _operation(route: Route, schema_of: dict[int, Any]) -> dict[str, Any]:
    summary, _, description = route.doc.partition("\n")
    operation: dict[str, Any] = {
        "operationId": route.operation_id,
        "tags": [route.tag],
        "summary": summary,
        "parameters": _parameters(route),
        "responses": _responses(route, schema_of),
        "security": [] if route.permission is None else [{"bearer": []}],
    }
    if route.permission is not None:
        description += f"\n\nPermission: `{route.permission}`."
    if description.strip():
        operation["description"] = description.strip()
    if _body(route) is not None:
        schema = schema_of[id(_body(route))]
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schema}},
        }
    return operation


def _responses(route: Route, schema_of: dict[int, Any]) -> dict[str, Any]:
    headers = {
        name: {"$ref": f"#/components/headers/{name}"}
        for name in ("X-Request-Id", "RateLimit", "RateLimit-Policy")
        if name == "X-Request-Id" or route.throttle != "none"
    }
    good: dict[str, Any] = {"description": "Done.", "headers": headers}
    if _has_schema(route):
        good["content"] = {"application/json": {"schema": schema_of[id(route.returns)]}}
    problem = {
        "description": "Why not, as RFC 9457 problem details.",
        "headers": headers,
        "content": {
            "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
        },
    }
    return {str(route.status): good, "default": problem}


def _parameters(route: Route) -> list[dict[str, Any]]:
    found = [
        _parameter("path", name, msgspec.json.schema(route.parameters[name]), required=True)
        for name in route.path_names
    ]
    query = route.query_type
    if query is not None:
        (_,), components = msgspec.json.schema_components([query])
        described = components[query.__name__]
        found += [
            _parameter("query", name, schema, required=name in described.get("required", ()))
            for name, schema in described["properties"].items()
        ]
    if route.keyed:
        found.append(
            _parameter(
                "header",
                "Idempotency-Key",
                {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^[!-~]+$(?!\n)"},
                description="Repeat a request with the same key: one effect, the same answer.",
            )
        )
    return found


def _parameter(
    where: str,
    name: str,
    schema: dict[str, Any],
    *,
    required: bool = False,
    description: str | None = None,
) -> dict[str, Any]:
    description = description or schema.get("description")
    return {
        "name": name,
        "in": where,
        "required": required,
        "schema": {
            key: value for key, value in schema.items() if key != "default" or value is not None
        },
        **({"description": description} if description else {}),
    }


def page(document: Mapping[str, Any]) -> str:
    """The document as one plain page: every operation, its parameters and its shapes."""
    sections: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            sections.setdefault(operation["tags"][0], []).append(
                _entry(method.upper(), path, operation)
            )
    menu = "".join(
        f'<a href="#{escape(tag.replace(" ", "-"))}">{escape(tag)}</a>' for tag in sections
    )
    parts = "".join(
        f'<section id="{escape(tag.replace(" ", "-"))}"><h2>{escape(tag)}</h2>'
        f"{''.join(rows)}</section>"
        for tag, rows in sections.items()
    )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<title>RyTask API</title><link rel="stylesheet" href="/style.css"><body>'
        '<main class="sheet"><header><h1>RyTask API</h1></header><p>Version '
        f"{escape(document['info']['version'])}. The same as JSON: "
        '<a href="/api/v1/openapi.json">openapi.json</a>. '
        "Send <code>Authorization: Bearer …</code>; every error is a problem with a stable "
        f"<code>code</code> and a <code>requestId</code>.</p><nav>{menu}</nav>"
        f"{parts}</main></body></html>"
    )


def _entry(method: str, path: str, operation: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(p['name'])}</code></td><td>{escape(p['in'])}</td>"
        f"<td>{'needed' if p['required'] else ''}</td>"
        f"<td>{escape(p.get('description', ''))}</td></tr>"
        for p in operation["parameters"]
    )
    shapes = "".join(
        f"<p>{label}: <code>{escape(_shape(schema))}</code></p>"
        for label, schema in (
            ("Body", _content(operation.get("requestBody", {}))),
            ("Answer", _content(next(iter(operation["responses"].values())))),
        )
        if schema
    )
    return (
        f'<details id="{escape(operation["operationId"])}"><summary><b>{method}</b> '
        f"<code>{escape(path)}</code> <span>{_prose(operation['summary'])}</span></summary>"
        f"<p>{_prose(operation.get('description', '')).replace(chr(10), '<br>')}</p>"
        f"{'<table>' + rows + '</table>' if rows else ''}{shapes}</details>"
    )


def _prose(text: str) -> str:
    """Text with `code` in it."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _content(part: dict[str, Any]) -> dict[str, Any] | None:
    return next((media["schema"] for media in part.get("content", {}).values()), None)


def _shape(schema: dict[str, Any]) -> str:
    return schema.get("$ref", "").rpartition("/")[2] or msgspec.json.encode(schema).decode()
