"""The structure that ARCHITECTURE.md shows: layers, no cycle, small modules, one owner for each side effect."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "confined_claude"
MOST_LINES = 350
MOST_AT_THE_TOP = 14

# From the doors down. A module imports from its own layer and from those below it, never from one above.
LAYERS = (
    ("cli", "command_line", "program", "tasks"),
    ("commands",),
    ("session",),
    ("claude", "guard", "egress", "image"),
    ("workspace",),
    ("state",),
    ("settings", "project"),
    ("engine",),
    ("fs",),
    ("background", "console", "environment", "errors", "host", "signals", "system", "text", "timing"),
)
LAYER_OF = {name: number for number, names in enumerate(LAYERS) for name in names}


def is_library(path: Path) -> bool:
    """Whether the host imports it: what runs in the container is a program of its own."""
    return path != PACKAGE / "__init__.py" and path.relative_to(PACKAGE).parts[0] != "container"


MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if is_library(path)
}


def imports(name: str) -> Iterator[tuple[str, int]]:
    """The package's own modules that a module imports, anywhere in it, and the line."""
    path = MODULES[name]
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            source = [*base, *(node.module.split(".") if node.module else [])]
            for alias in node.names:
                inner = ".".join([*source, alias.name])
                yield (inner if inner in MODULES else ".".join(source)), node.lineno
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            assert not any(word.split(".")[0] == "confined_claude" for word in names), f"{name}:{node.lineno}"


GRAPH = {name: {module for module, _ in imports(name) if module in MODULES} - {name} for name in MODULES}


def layer(name: str) -> int:
    return LAYER_OF[name.split(".", maxsplit=1)[0]]


def test_every_module_has_a_layer() -> None:
    assert {name.split(".")[0] for name in GRAPH} == set(LAYER_OF)


def test_no_module_imports_from_a_layer_above_it() -> None:
    upwards = [
        f"{name}:{line} imports {module}"
        for name in GRAPH
        for module, line in imports(name)
        if module in MODULES and layer(module) < layer(name)
    ]
    assert upwards == []


def cycle(graph: dict[str, set[str]]) -> list[str]:
    """A way from a module back to itself; empty if there is none."""
    done: set[str] = set()

    def walk(name: str, way: list[str]) -> list[str]:
        if name in way:
            return [*way[way.index(name) :], name]
        if name in done:
            return []
        for module in sorted(graph.get(name, ())):
            if found := walk(module, [*way, name]):
                return found
        done.add(name)
        return []

    return next((found for name in sorted(graph) if (found := walk(name, []))), [])


def test_no_module_is_in_a_cycle() -> None:
    assert cycle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) == ["a", "b", "c", "a"]
    assert cycle(GRAPH) == []


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_modules_are_small(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MOST_LINES


def test_few_modules_are_at_the_top() -> None:
    assert len([path for path in PACKAGE.glob("*.py") if path.name != "__init__.py"]) <= MOST_AT_THE_TOP


def test_only_the_commands_print_to_standard_output() -> None:
    """Everything else reports through ``console.say``, which writes to standard error."""
    printing = [
        f"{name}:{node.lineno}"
        for name, path in MODULES.items()
        if name.split(".")[0] not in ("cli", "program", "tasks", "commands", "console")
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.Name) and node.id == "print")
        or (isinstance(node, ast.Attribute) and ast.unparse(node) == "sys.stdout.write")
    ]
    assert printing == []
