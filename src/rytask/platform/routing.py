"""Routes made ready once, and found by the segments of a path, looked up in dictionaries."""

import re
from collections.abc import Iterable, Mapping

import msgspec

from rytask.platform.errors import MethodNotAllowed, NotFound
from rytask.platform.http import Request, Route


class Endpoint:
    """A route made ready: its decoders built, its providers found."""

    __slots__ = ("body", "path", "path_names", "provided", "query", "route")

    def __init__(self, route: Route, provide: Mapping[type, object]) -> None:
        self.route = route
        self.path_names = re.findall(r"{(\w+)}", route.path)
        # msgspec remembers what it knows of a struct, and of nothing else.
        self.path = msgspec.defstruct(
            "Path", [(name, route.parameters[name]) for name in self.path_names]
        )
        data = route.parameters.get("data")
        self.body = None if data is None else msgspec.json.Decoder(data, strict=True)
        self.query = route.parameters.get("query")
        known = {"ctx", "data", "query", "request", *self.path_names}
        self.provided = {
            name: provide[wanted] for name, wanted in route.parameters.items() if name not in known
        }


class _Node:
    """One segment of the paths: the next by name, or by parameter."""

    __slots__ = ("by_name", "by_parameter", "endpoints")

    def __init__(self) -> None:
        self.by_name: dict[str, _Node] = {}
        self.by_parameter: _Node | None = None
        self.endpoints: dict[str, Endpoint] = {}


class Router:
    """Every route, by its path."""

    def __init__(self, routes: Iterable[Route], provide: Mapping[type, object]) -> None:
        self._root = _Node()
        for route in routes:
            node = self._root
            for segment in route.path.split("/")[1:]:
                if segment.startswith("{"):
                    node.by_parameter = node.by_parameter or _Node()
                    node = node.by_parameter
                else:
                    node = node.by_name.setdefault(segment, _Node())
            node.endpoints[route.method] = Endpoint(route, provide)

    def find(self, request: Request) -> tuple[Endpoint, list[str]]:
        """The endpoint, and what stands in its path for its parameters.

        Raises NotFound where there is nothing, and MethodNotAllowed where there is another method.
        """
        node, values = self._root, []
        for segment in request.path.split("/")[1:]:
            following = node.by_name.get(segment)
            if following is None:
                following = node.by_parameter
                values.append(segment)
            if following is None:
                raise _nothing_here(request)
            node = following
        method = "GET" if request.method == "HEAD" else request.method
        endpoint = node.endpoints.get(method)
        if endpoint is None:
            if not node.endpoints:
                raise _nothing_here(request)
            raise MethodNotAllowed(sorted(node.endpoints))
        return endpoint, values


def _nothing_here(request: Request) -> NotFound:
    return NotFound(f"There is no route {request.method} {request.path[:200]}.")
