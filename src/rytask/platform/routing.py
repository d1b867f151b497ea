"""Routes made ready once, and found by the segments of a path, looked up in dictionaries."""

import re
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import unquote

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

    def __init__(
        self,
        routes: Iterable[Route],
        provide: Mapping[type, object],
        mounts: Iterable[Route] = (),
    ) -> None:
        self._root = _Node()
        for route in routes:
            node = self._root
            for segment in route.path.split("/")[1:]:
                if segment.startswith("{"):
                    node.by_parameter = node.by_parameter or _Node()
                    node = node.by_parameter
                else:
                    node = node.by_name.setdefault(segment, _Node())
            if route.method in node.endpoints:
                raise ValueError(f"{route.method} {route.path} is declared twice")
            node.endpoints[route.method] = Endpoint(route, provide)
        longest_first = sorted(mounts, key=lambda mount: len(mount.path), reverse=True)
        self._mounts = [(f"{mount.path}/", Endpoint(mount, {})) for mount in longest_first]

    def find(self, request: Request) -> tuple[Endpoint, list[str]]:
        """The endpoint, and what stands in its path for its parameters.

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
            if node.endpoints:
                return _endpoint(node, request), values
        # A name led nowhere: one of the parameters beside it may lead on.
        found = _search(self._root, segments, 0, [])
        if found is not None:
            node, values = found
            return _endpoint(node, request), values
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
        return (node, values) if node.endpoints else None
    segment = segments[at]
    if (named := node.by_name.get(segment)) and (found := _search(named, segments, at + 1, values)):
        return found
    if node.by_parameter is None:
        return None
    return _search(node.by_parameter, segments, at + 1, [*values, segment])


def _endpoint(node: _Node, request: Request) -> Endpoint:
    endpoint = node.endpoints.get("GET" if request.method == "HEAD" else request.method)
    if endpoint is None:
        raise MethodNotAllowed(sorted(node.endpoints))
    return endpoint
