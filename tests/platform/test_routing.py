"""Which route a path leads to."""

import re

import pytest

from rytask.platform.bodies import Bodies
from rytask.platform.errors import MethodNotAllowed, NotFound
from rytask.platform.http import Method, Request, Routes
from rytask.platform.routing import Router

routes = Routes("test", prefix="")
PATHS = (
    "/items",
    "/items/{id}",
    "/items/{id}/comments",
    "/items/trash/count",
    "/{place}/{id}/comments/{n}",
)


def declare(routes: Routes, method: Method, path: str) -> None:
    async def run(**values: str) -> None:
        """Be found."""

    run.__annotations__ = dict.fromkeys(re.findall(r"{(\w+)}", path), str)
    routes.route(method, path, public=True, operation_id=path)(run)


for path in PATHS:
    declare(routes, "GET", path)
declare(routes, "DELETE", "/items/{id}")


def asked(raw_path: str, method: str = "GET") -> Request:
    async def receive() -> None: ...

    scope = {
        "method": method,
        "path": raw_path.replace("%2f", "/").replace("%2F", "/").replace("%C3%A9", "é"),
        "raw_path": raw_path.encode(),
        "query_string": b"",
        "headers": [],
    }
    return Request(scope, receive, Bodies())


@pytest.mark.parametrize(
    ("path", "route", "values"),
    [
        ("/items", "/items", []),
        ("/items/7", "/items/{id}", ["7"]),
        ("/items/trash", "/items/{id}", ["trash"]),
        ("/items/trash/count", "/items/trash/count", []),
        ("/items/trash/comments", "/items/{id}/comments", ["trash"]),
        ("/items/trash/comments/1", "/{place}/{id}/comments/{n}", ["items", "trash", "1"]),
        ("/items/7/comments/1", "/{place}/{id}/comments/{n}", ["items", "7", "1"]),
        ("/items/a%2fcomments", "/items/{id}", ["a/comments"]),
        ("/items/trash%2Fcount", "/items/{id}", ["trash/count"]),
        ("/items/%C3%A9", "/items/{id}", ["é"]),
    ],
)
def test_a_path_leads_to_the_route_that_names_most_of_it(
    path: str, route: str, values: list[str]
) -> None:
    found_route, found = Router(routes.routes).find(asked(path))
    assert (found_route.path, found) == (route, values)


@pytest.mark.parametrize("path", ["/", "/item", "/items/trash/count/x", "/items/7/count"])
def test_a_path_that_leads_nowhere_is_not_found(path: str) -> None:
    with pytest.raises(NotFound):
        Router(routes.routes).find(asked(path))


def test_a_resource_without_that_method_names_those_that_it_has() -> None:
    with pytest.raises(MethodNotAllowed) as refused:
        Router(routes.routes).find(asked("/items/7", "PATCH"))
    assert refused.value.allowed == ["DELETE", "GET"]


def test_two_routes_for_one_path_are_refused_at_start() -> None:
    twice = Routes("test", prefix="")
    for path in ("/items/{id}", "/items/{n}"):
        declare(twice, "GET", path)
    with pytest.raises(ValueError, match=r"^GET /items/\{n\} is declared twice$"):
        Router(twice.routes)
