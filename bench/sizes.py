"""Print the shape of the code: sizes, annotations, docstrings, cycles, tests.

Run with `python -m bench.sizes`; each line is `target | measured | ok or missed`.
"""

import ast
import statistics
import subprocess
from collections.abc import Iterator
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parent.parent
APPS = ("fortheweebs", "health", "bugfixer", "integrations", "breakers", "ledger")
Function = ast.FunctionDef | ast.AsyncFunctionDef
MODEL_SIGNALS = {"pre_save", "post_save", "pre_delete", "post_delete", "m2m_changed"}


def source_files(*folders: str) -> list[Path]:
    """Return the Python files below the folders, without migrations."""
    return [
        path
        for folder in folders
        for path in sorted((ROOT / folder).rglob("*.py"))
        if "migrations" not in path.parts and ".venv" not in path.parts
    ]


def code_lines(path: Path) -> int:
    """Count the lines that are neither empty nor only a comment."""
    lines = (line.strip() for line in path.read_text().splitlines())
    return sum(1 for line in lines if line and not line.startswith("#"))


def nodes(paths: list[Path], *kinds: type[ast.AST]) -> Iterator[ast.AST]:
    """Yield the syntax nodes of the given kinds."""
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, kinds):
                yield node


def body_lines(function: Function) -> int:
    """Count a function's lines without its docstring."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def is_annotated(function: Function) -> bool:
    """Tell whether the result and every argument but self has a type."""
    given = function.args
    arguments = [*given.posonlyargs, *given.args, *given.kwonlyargs]
    named = [one for one in arguments if one.arg not in {"self", "cls"}]
    return function.returns is not None and all(one.annotation for one in named)


def p90(values: list[int]) -> int:
    """Return the value that nine of ten do not pass."""
    return sorted(values)[int(len(values) * 0.9)]


def cycles() -> int:
    """Count the pairs of apps that import each other, directly or not."""
    present = [app for app in APPS if (ROOT / app / "__init__.py").exists()]
    graph = grimp.build_graph(*present)
    return sum(
        graph.chain_exists(importer=a, imported=b, as_packages=True)
        and graph.chain_exists(importer=b, imported=a, as_packages=True)
        for index, a in enumerate(present)
        for b in present[index + 1 :]
    )


def commits_with_tests() -> float:
    """Return the share of commits touching source that touch tests too."""
    command = ["git", "log", "--no-merges", "--name-only", "--pretty=format:%x00"]
    log = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    both = source = 0
    for commit in log.stdout.split("\0")[1:]:
        names = [
            n for n in commit.split() if n.endswith(".py") and "migrations" not in n
        ]
        if any(name.split("/")[0] in APPS for name in names):
            source += 1
            both += any(name.startswith("tests/") for name in names)
    return both / source if source else 1.0


def report(name: str, target: str, measured: object, *, ok: bool) -> None:
    """Print one line."""
    print(f"{name} | {target} | {measured} | {'ok' if ok else 'missed'}")


def print_functions(source: list[Path]) -> None:
    """Print what concerns single functions."""
    functions = list(nodes(source, ast.FunctionDef, ast.AsyncFunctionDef))
    lengths = [body_lines(node) for node in functions]  # type: ignore[arg-type]
    annotated = sum(map(is_annotated, functions)) / len(functions)  # type: ignore[arg-type]
    public = [
        node
        for node in nodes(source, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        if not node.name.startswith("_")  # type: ignore[attr-defined]
    ]
    documented = sum(bool(ast.get_docstring(node)) for node in public) / len(public)  # type: ignore[arg-type]
    report("functions annotated", "100 %", f"{annotated:.1%}", ok=annotated == 1)
    report("public docstrings", ">= 80 %", f"{documented:.0%}", ok=documented >= 0.8)
    median, ninety = statistics.median(lengths), p90(lengths)
    report("function lines, median", "<= 8", median, ok=median <= 8)
    report("function lines, p90", "<= 25", ninety, ok=ninety <= 25)


def print_files(source: list[Path]) -> None:
    """Print what concerns files and the whole."""
    sizes = [code_lines(path) for path in source]
    tests = sum(map(code_lines, source_files("tests")))
    ratio = tests / sum(sizes)
    report("file lines, p90", "<= 250", p90(sizes), ok=p90(sizes) <= 250)
    report("file lines, max", "<= 500", max(sizes), ok=max(sizes) <= 500)
    report("test:code", ">= 1.2", f"{ratio:.2f}", ok=ratio >= 1.2)
    names = {n.id for n in nodes(source, ast.Name)} & MODEL_SIGNALS  # type: ignore[attr-defined]
    report("receivers on model signals", "0", len(names), ok=not names)
    report("apps in a cycle", "0", cycles(), ok=cycles() == 0)
    share = commits_with_tests()
    report("source commits with tests", ">= 75 %", f"{share:.0%}", ok=share >= 0.75)
    for app in APPS:
        if (ROOT / app).is_dir():
            total = sum(map(code_lines, source_files(app)))
            print(f"{app} | lines of code | {total} |")


def main() -> None:
    """Print every line."""
    source = [
        path for app in APPS if (ROOT / app).is_dir() for path in source_files(app)
    ]
    print_functions(source)
    print_files(source)


if __name__ == "__main__":
    main()
