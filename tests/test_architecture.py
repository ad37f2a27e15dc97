"""Imports point one way, from the shell to the pure core; the pure core asks no other module for anything.

The house rules are the tables below; moving an arrow is one edit there.
"""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pgdoctor
from tests.trees import tree_nodes

PACKAGE = Path(pgdoctor.__file__).parent
SQL = PACKAGE.parent / "sql"

#: A room, a module or folder below pgdoctor/, and the rooms that it may import from. The longest name that fits
#: decides. Every module may import from its own room, and `__version__`.
MAY_IMPORT = {
    "__main__": {"cli"},
    "cli": {
        *("agent", "demo", "config", "render", "enforcement", "mitigation", "observer", "postgres", "journal"),
        *("incidents", "diagnosis", "model", "sqltext", "topics", "fields", "escape", "formatting", "errors"),
        *("serverlog", "notify", "preflight"),
    },
    "agent": {
        *("config", "render", "enforcement", "mitigation", "notify", "observer", "postgres", "journal", "incidents"),
        *("baseline", "diagnosis", "model", "sqltext", "topics"),
        *("fields", "escape", "formatting", "secret_file", "errors"),
    },
    "topics": {"render", "mitigation", "diagnosis"},
    "demo": {"render", "enforcement", "mitigation", "postgres", "diagnosis", "model", "errors"},
    "config": {"notify", "mitigation", "postgres", "journal", "model", "fields", "secret_file", "errors"},
    "enforcement": {
        *("mitigation", "postgres", "journal", "observer", "diagnosis", "model", "fields", "formatting", "errors"),
    },
    "notify": {
        *("notify.formats", "notify.format", "notify.endpoint", "render", "incidents", "mitigation", "model"),
        *("fields", "escape", "formatting", "secret_file", "errors"),
    },
    "notify.formats": {"notify.format", "notify.endpoint", "render", "incidents", "escape"},
    "notify.format": {"notify.endpoint", "render", "escape"},
    "notify.endpoint": set(),
    "render": {
        *("mitigation", "incidents", "diagnosis", "model", "sqltext", "fields", "escape", "formatting", "errors"),
        *("serverlog", "preflight"),
    },
    "mitigation": {"diagnosis", "model", "sqltext", "fields", "statement_pattern", "formatting", "errors"},
    "postgres": {"observer", "diagnosis", "model", "sqltext", "formatting", "errors"},
    "observer": {"baseline", "diagnosis", "model", "sqltext", "formatting"},
    "incidents": {"diagnosis", "model", "sqltext", "escape", "formatting", "errors"},
    "preflight": {"diagnosis", "model", "sqltext"},
    "serverlog": {"diagnosis", "model", "sqltext", "formatting", "errors"},
    "diagnosis": {"model", "sqltext", "formatting", "errors"},
    "baseline": {"model"},
    "journal": {"secret_file", "errors"},
    "sqltext": {"model", "formatting"},
    "model": {"formatting"},
    "fields": {"statement_pattern"},
    "secret_file": {"errors"},
    "escape": set(),
    "statement_pattern": set(),
    "formatting": set(),
    "errors": set(),
}

#: Rooms without driver, clock, file, socket, environment or logger: values in, values out.
PURE = {
    *("render", "mitigation", "observer", "incidents", "serverlog", "diagnosis", "baseline", "sqltext", "model"),
    "preflight",
    *("fields", "statement_pattern", "escape", "formatting", "errors"),
    *("notify.formats", "notify.format", "notify.endpoint"),
}

#: What pure rooms may use of the standard library.
PURE_LIBRARY = {
    *("__future__", "abc", "bisect", "collections", "copy", "dataclasses", "datetime", "decimal", "difflib", "enum"),
    *(
        "functools",
        "hashlib",
        "heapq",
        "html",
        "ipaddress",
        "itertools",
        "json",
        "math",
        "operator",
        "re",
        "statistics",
        "string",
        "struct",
    ),
    *("textwrap", "types", "typing", "unicodedata", "zlib"),
}

#: Which packages all pure rooms may use, and what single rooms or modules may have on top.
PURE_PACKAGES = {"msgspec", "sqlglot"}
PURE_EXTRAS = {
    "render": {"tabulate"},
    "render.web.assets": {"pkgutil"},  # Reads what is shipped beside it, as an import reads code.
    # Causes, findings and guards are found by looking into their folders.
    "diagnosis.discovery": {"importlib", "pkgutil"},
    "notify.formats": {"importlib", "pkgutil"},  # As causes are.
    "notify.endpoint": {"urllib"},
    "preflight.rule_tables": {"importlib", "pkgutil"},  # Rows of rules, too.
    "mitigation.guards": {"sys"},  # Its own package, as `find_classes` takes it.
    "statement_pattern": {"re2"},
    "serverlog": {"csv"},
    "fields": {"zoneinfo"},  # Reads what a place's hours are, as re reads what a pattern is.
}

#: The only rooms that know the driver.
DRIVER = {"postgres", "demo"}

#: The only module that may send a signal, the statements that do, the functions that take a statement's name.
SIGNALLER = "postgres.signal"
SIGNAL_STATEMENTS = {"signal_session", "cancel_wrapped", "terminate_wrapped", "signal_by_person"}
TAKES_A_STATEMENT = {"load_sql", "fetch", "fetch_some"}
SIGNAL_FUNCTIONS = re.compile(r"pg_(cancel|terminate)_backend|pgdoctor\.(cancel|terminate)_session")
#: Modules that may tell people about them.
MAY_MENTION_SIGNALS = {"cli.setup", "diagnosis.manual_signal"}


@cache
def modules() -> dict[str, Path]:
    """The file of every module by its name below pgdoctor; the package itself is the empty name."""
    found = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        parts = file.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def nodes(name: str) -> tuple[ast.AST, ...]:
    """All nodes of a module's tree."""
    return tree_nodes(modules()[name])


def fits(name: str, room: str) -> bool:
    return name == room or name.startswith(f"{room}.")


def room_of(name: str) -> str | None:
    return max((room for room in MAY_IMPORT if fits(name, room)), key=len, default=None)


@cache
def imports(name: str) -> tuple[str, ...]:
    """Full names of the modules and objects that a module imports, at its top or in a function."""
    return tuple(_read_imports(name))


def _read_imports(name: str) -> Iterator[str]:
    for node in nodes(name):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: imports are written out in full"
            for alias in node.names:
                below = f"{node.module}.{alias.name}"
                yield below if below.removeprefix("pgdoctor.") in modules() else str(node.module)


def own_imports(name: str) -> Iterator[str]:
    """The names below pgdoctor of the modules that a module imports."""
    for imported in imports(name):
        if imported.startswith("pgdoctor."):
            yield imported.removeprefix("pgdoctor.")


def is_pure(name: str) -> bool:
    return room_of(name) in PURE


def test_every_module_has_a_room():
    homeless = [name for name in modules() if name and room_of(name) is None]
    assert homeless == [], "give them a line in MAY_IMPORT"


def test_the_arrows_point_one_way():
    TopologicalSorter(MAY_IMPORT).prepare()  # Raises CycleError.
    assert set().union(*MAY_IMPORT.values()) <= set(MAY_IMPORT)


def test_imports_follow_the_arrows():
    against = [
        f"{name} imports {imported}"
        for name in modules()
        for imported in own_imports(name)
        if room_of(imported) not in {room_of(name), *MAY_IMPORT.get(room_of(name) or "", ())}
    ]
    assert against == []


def test_the_package_itself_imports_nothing():
    assert list(imports("")) == []


def test_pure_modules_import_only_what_is_pure():
    impure = []
    for name in filter(is_pure, modules()):
        extras = [packages for place, packages in PURE_EXTRAS.items() if fits(name, place)]
        allowed = PURE_LIBRARY | PURE_PACKAGES.union(*extras)
        foreign = (imported for imported in imports(name) if imported.partition(".")[0] != "pgdoctor")
        impure += [f"{name} imports {imported}" for imported in foreign if imported.partition(".")[0] not in allowed]
        impure += [f"{name} imports {imported}" for imported in own_imports(name) if not is_pure(imported)]
    assert impure == []


def test_pure_modules_do_not_look_at_the_clock_or_at_files():
    asked = [
        f"{name}:{node.lineno}"
        for name in filter(is_pure, modules())
        for node in nodes(name)
        if isinstance(node, ast.Call) and callee(node) in {"now", "utcnow", "today", "open", "print", "input"}
    ]
    assert asked == []


def test_no_cause_or_finding_knows_another():
    pages = [name for name in modules() if name.startswith(("diagnosis.causes.", "diagnosis.findings."))]
    gossip = [f"{name} imports {other}" for name in pages for other in own_imports(name) if other in pages]
    assert gossip == []


def test_only_the_door_and_the_demo_know_the_driver():
    drivers = {"psycopg", "psycopg_pool"}
    knowing = {room_of(name) for name in modules() if drivers & {each.partition(".")[0] for each in imports(name)}}
    assert knowing <= DRIVER


def test_only_the_signal_statements_signal():
    signalling = {
        file.name.partition(".")[0]
        for file in SQL.rglob("*.sql")
        if SIGNAL_FUNCTIONS.search(re.sub("--.*", "", file.read_text(encoding="utf-8")))
    }
    assert signalling <= SIGNAL_STATEMENTS


def test_only_the_signaller_loads_a_signal_statement():
    loading = [
        f"{name}:{node.lineno}"
        for name in modules()
        if name != SIGNALLER
        for node in nodes(name)
        if isinstance(node, ast.Call) and callee(node) in TAKES_A_STATEMENT
        for word in node.args[:1]
        if isinstance(word, ast.Constant) and word.value in SIGNAL_STATEMENTS
    ]
    assert loading == []


def test_only_the_executor_sends():
    """A plan that every guard has let pass is the only way to a signal."""
    assert importers(SIGNALLER, "send_signal") == {"enforcement.mitigator"}
    assert importers(SIGNALLER, "send_signal_by_person") == {"enforcement.manual_signal"}
    assert not [name for name in modules() if f"pgdoctor.{SIGNALLER}" in set(plain_imports(name))]


def test_only_commands_signal_for_a_person():
    """No agent, no rule and no alert: what a person may do without a waiter or leadership, only a person does."""
    assert importers("enforcement.manual_signal", "signal_by_person") == {"cli._manual_operations"}
    acting = {
        name for name in modules() if "cli._manual_operations" in own_imports(name) and name != "cli._manual_operations"
    }
    assert acting <= {"cli._manual", "cli._watch_actions", "cli._proposal_answers"}


def test_no_tool_of_an_assistant_reaches_a_signal():
    """What it imports, directly or not within the commands, has no way to send one; and only commands answer it."""
    reached, todo = set[str](), [name for name in modules() if fits(name, "cli._mcp") or name == "cli.mcp"]
    while todo:
        name = todo.pop()
        if name not in reached:
            reached.add(name)
            todo += [each for each in own_imports(name) if room_of(each) == "cli"]
    assert not reached & {"cli._manual_operations", "cli._proposal_answers", "cli._manual", "cli._watch_actions"}
    importing = {name for name in modules() if "cli._proposal_answers" in own_imports(name)}
    assert importing - {"cli._proposal_answers"} == {"cli._proposals"}


def test_only_the_server_of_tools_knows_its_sdk():
    """It takes a second to import and 40 MB: no other command pays for it."""
    knowing = {name for name in modules() if {each.partition(".")[0] for each in imports(name)} & {"mcp", "mcp_types"}}
    assert knowing == {"cli.mcp", "cli._mcp.server", "cli._mcp.stdio", "cli._mcp.http"}
    entering = {name for name in modules() for each in own_imports(name) if fits(each, "cli._mcp")}
    assert {name for name in entering if not fits(name, "cli._mcp")} == {"cli.mcp"}


def importers(module: str, function: str) -> set[str]:
    """The modules that import a function of a module."""
    return {
        name
        for name in modules()
        for node in nodes(name)
        if isinstance(node, ast.ImportFrom) and node.module == f"pgdoctor.{module}"
        if function in {alias.name for alias in node.names}
    }


def plain_imports(name: str) -> Iterator[str]:
    """What a module imports as a whole."""
    for node in nodes(name):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_outside_of_the_door_a_statement_is_named_in_plain_sight():
    hidden = [
        f"{name}:{node.lineno}"
        for name in modules()
        if room_of(name) != "postgres"
        for node in nodes(name)
        if isinstance(node, ast.Call) and callee(node) in {"fetch", "fetch_some"}
        if not (node.args and isinstance(node.args[0], ast.Constant))
    ]
    assert hidden == []


def test_no_python_text_calls_the_signal_functions():
    texts = [
        f"{name}:{node.lineno}"
        for name in modules()
        if name not in MAY_MENTION_SIGNALS
        for node in nodes(name)
        if isinstance(node, ast.Constant) and id(node) not in docstrings(name)
        if isinstance(node.value, str) and SIGNAL_FUNCTIONS.search(node.value)
    ]
    assert texts == []


def callee(call: ast.Call) -> str:
    """The last part of the name of what is called."""
    match call.func:
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
    return ""


@cache
def docstrings(name: str) -> set[int]:
    """The identities of a module's strings that no code uses."""
    return {
        id(node.value) for node in nodes(name) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }


def test_class_name_has_one_meaning() -> None:
    names = Counter(node.name for name in modules() for node in nodes(name) if isinstance(node, ast.ClassDef))
    assert [name for name, count in names.items() if count > 1] == []
