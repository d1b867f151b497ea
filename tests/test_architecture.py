"""The rules of the layout that import-linter cannot see."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import rytask

SOURCE = Path(rytask.__file__).parent
MODULES = sorted(folder.name for folder in (SOURCE / "modules").iterdir() if folder.is_dir())
FRONT_DOORS = {"service", "model", "schemas", "events", "visibility"}

# From the bottom up: a module's SQL writes its own tables, and reads those of modules below, too.
TABLES = {
    "platform": {"schema_migrations", "events", "jobs", "schedules", "idempotency_keys"},
    "identity": {
        *("users", "sessions", "api_tokens", "one_time_tokens", "revocations", "login_failures"),
        "memberships",
    },
    "orgs": {"organizations", "workspaces", "invitations"},
    "projects": {"projects", "project_counters", "project_members", "statuses", "labels"},
    "work_items": {"work_items", "work_item_watchers", "bulk_operations"},
    "notifications": {"notifications", "notification_scans"},
    "slack": {"slack_connections", "slack_users", "slack_channels", "slack_captures"},
}
# A project brings its counters, and its items count them up.
SHARED = {("work_items", "project_counters")}
OWNERS = {table: module for module, tables in TABLES.items() for table in tables}
HEIGHT = {module: height for height, module in enumerate(TABLES)}

WRITES = re.compile(
    r"\b(?:INSERT\s+INTO|UPDATE|DELETE\s+FROM|TRUNCATE|MERGE\s+INTO)\s+(?:ONLY\s+)?([a-z_]+)"
)
READS = re.compile(r"\b(?:FROM|JOIN|USING)\s+(?:ONLY\s+|LATERAL\s+)?([a-z_]+)")


def trees(module: str) -> Iterator[tuple[str, ast.Module]]:
    for file in sorted((SOURCE / "modules" / module).rglob("*.py")):
        yield file.name, ast.parse(file.read_text("utf-8"))


def tables(tree: ast.Module, named: re.Pattern[str]) -> set[str]:
    """The tables that the texts of a file name so. Other names are aliases and functions."""
    texts = [
        "".join(str(part.value) for part in parts if isinstance(part, ast.Constant))
        for node in ast.walk(tree)
        if (parts := node.values if isinstance(node, ast.JoinedStr) else [node])
    ]
    return {name for text in texts for name in named.findall(text)} & OWNERS.keys()


def test_every_table_belongs_to_a_module() -> None:
    made = {
        table
        for file in (SOURCE / "migrations").glob("[0-9]*.sql")
        for table in re.findall(r"CREATE TABLE (\w+)", file.read_text("utf-8"))
    }
    assert made <= OWNERS.keys()
    assert set(MODULES) == TABLES.keys() - {"platform"}


@pytest.mark.parametrize("module", MODULES)
def test_modules_enter_each_other_by_their_front_doors(module: str) -> None:
    entered = set()
    for name, tree in trees(module):
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            else:
                continue
            for imported in names:
                if imported.startswith("rytask.modules."):
                    other, door, *_ = f"{imported}.".removeprefix("rytask.modules.").split(".")
                    entered.add((name, other, door))
    assert [e for e in sorted(entered) if e[1] != module and e[2] not in FRONT_DOORS] == []


def copied(tree: ast.Module) -> set[str]:
    """The tables that a file adds rows to by `tx.copy(table, …)`."""
    return {
        str(node.args[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "copy"
        and node.args
        and isinstance(node.args[0], ast.Constant)
    }


@pytest.mark.parametrize("module", MODULES)
def test_sql_writes_only_the_tables_of_its_module(module: str) -> None:
    written = {table for _, tree in trees(module) for table in tables(tree, WRITES) | copied(tree)}
    foreign = {(module, table) for table in written if OWNERS[table] != module}
    assert foreign - SHARED == set()


@pytest.mark.parametrize("module", MODULES)
def test_sql_reads_only_the_tables_of_its_module_and_of_those_below(module: str) -> None:
    read = {(name, table) for name, tree in trees(module) for table in tables(tree, READS)}
    assert [at for at in sorted(read) if HEIGHT[OWNERS[at[1]]] > HEIGHT[module]] == []


@pytest.mark.parametrize("module", MODULES)
def test_no_module_catches_errors_that_it_does_not_know(module: str) -> None:
    caught = [
        (name, node.lineno)
        for name, tree in trees(module)
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler)
        and any(
            isinstance(part, ast.Name) and part.id in ("Exception", "BaseException")
            for part in ast.walk(node.type or ast.Name("Exception"))
        )
    ]
    assert caught == []


HEADLESS = re.compile(
    r"(?:who|whom|whose|what|which|when|where|why|how|(?:who|what|which|when|where)ever)\b", re.I
)


def docstrings(tree: ast.Module) -> Iterator[str]:
    """The docstrings of a file: its own, and those of its classes, functions and fields."""
    for node in ast.walk(tree):
        match node:
            case ast.Expr(value=ast.Constant(value=str(text))):
                yield text


def test_docstrings_open_with_a_verb_or_a_noun() -> None:
    """Readers skim first words, and "What …" or "Who …" names neither an action nor a thing."""
    headless = [
        (str(file.relative_to(SOURCE)), text.splitlines()[0])
        for file in sorted(SOURCE.rglob("*.py"))
        for text in docstrings(ast.parse(file.read_text("utf-8")))
        if HEADLESS.match(text.lstrip())
    ]
    assert headless == []
