"""Routes, found by the segments of a path, looked up in dictionaries."""

from collections.abc import Iterable, Sequence
from urllib.parse import unquote

from rytask.platform.errors import MethodNotAllowed, NotFound
from rytask.platform.http import Mount, Request, Route


class _Node:
    """One segment of the paths: the next by name, or by parameter."""

    __slots__ = ("by_name", "by_parameter", "routes")

    def __init__(self) -> None:
        self.by_name: dict[str, _Node] = {}
        self.by_parameter: _Node | None = None
        self.routes: dict[str, Route] = {}


class Router:
    """Every route, by its path."""

    def __init__(self, routes: Iterable[Route], mounts: Iterable[Mount] = ()) -> None:
        self._root = _Node()
        for route in routes:
            node = self._root
            for segment in route.path.split("/")[1:]:
                if segment.startswith("{"):
                    node.by_parameter = node.by_parameter or _Node()
                    node = node.by_parameter
                else:
                    node = node.by_name.setdefault(segment, _Node())
            if route.method in node.routes:
                raise ValueError(f"{route.method} {route.path} is declared twice")
            node.routes[route.method] = route
        longest_first = sorted(mounts, key=lambda mount: len(mount.path), reverse=True)
        self._mounts = [(f"{mount.path}/", mount) for mount in longest_first]

    def find(self, request: Request) -> tuple[Route | Mount, list[str]]:
        """The route, and what stands in its path for its parameters.

        A name is preferred to a parameter, segment by segment. Raises NotFound where there is
        nothing, and MethodNotAllowed where there is another method.
        """
        if b"%" in request.raw_path:
            segments = _decoded(request.raw_path)
        else:
            segments = request.path.split("/")[1:]
        node, values = self._root, []
        for segment in segments:
            following = node.by_name.get(segment)
            if following is None:
                following = node.by_parameter
                values.append(segment)
            if following is None:
                break
            node = following
        else:
            if node.routes:
                return _route(node, request), values
        # A name led nowhere: one of the parameters beside it may lead on.
        found = _search(self._root, segments, 0, [])
        if found is not None:
            node, values = found
            return _route(node, request), values
        for prefix, mounted in self._mounts:
            if f"{request.path}/".startswith(prefix):
                return mounted, []
        raise NotFound(f"There is no route {request.method} {request.path[:200]}.")


def _decoded(raw_path: bytes) -> list[str]:
    """The segments of a path, decoded one by one: an encoded slash does not separate."""
    return [unquote(segment) for segment in raw_path.decode("latin-1").split("/")[1:]]


def _search(
    node: _Node, segments: Sequence[str], at: int, values: list[str]
) -> tuple[_Node, list[str]] | None:
    if at == len(segments):
        return (node, values) if node.routes else None
    segment = segments[at]
    if (named := node.by_name.get(segment)) and (found := _search(named, segments, at + 1, values)):
        return found
    if node.by_parameter is None:
        return None
    return _search(node.by_parameter, segments, at + 1, [*values, segment])


def _route(node: _Node, request: Request) -> Route:
    route = node.routes.get("GET" if request.method == "HEAD" else request.method)
    if route is None:
        raise MethodNotAllowed(sorted(node.routes))
    return route
