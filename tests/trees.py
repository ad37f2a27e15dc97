"""Syntax trees of Python files, read once a process: several tests ask all of them for something."""

import ast
from functools import cache
from pathlib import Path


@cache
def tree_nodes(path: Path) -> tuple[ast.AST, ...]:
    """All nodes of a file's tree, the module first, in the order of `ast.walk`."""
    return tuple(ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))))
