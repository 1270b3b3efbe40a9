"""Readability of the source in numbers: names, helpers, folders and tests, with their goals.

    python benchmarks/readability.py [--package src/leanrec] [--list WHAT] [--under FOLDER]

``--list`` prints what counts against one figure: functions, classes, once, folders, twice, untested. Any package can be
measured, to compare with another library: ``--package path/to/site-packages/lenskit``.
"""

import argparse
import ast
import re
import statistics
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
ONE_WORD_FUNCTION = re.compile(r"_*[a-z0-9]+")
# EASE, Row and RP3 are one word; EASEModel and ItemKNN are two.
ONE_WORD_CLASS = re.compile(r"_*([A-Z]+[0-9]*|[A-Z][a-z0-9]*)")


@dataclass(frozen=True)
class Definition:
    """A module-level function or class."""

    name: str
    file: Path
    lines: int


@dataclass(frozen=True)
class Source:
    """Definitions and modules of a package.

    Attributes:
        functions: functions of modules.
        every_function: these and methods and inner functions.
        classes: classes of modules.
        once: private functions that their module uses once.
        private: number of private functions.
        modules: the files.
    """

    functions: tuple[Definition, ...]
    every_function: tuple[Definition, ...]
    classes: tuple[Definition, ...]
    once: tuple[Definition, ...]
    private: int
    modules: tuple[Path, ...]


def read_source(package: Path, under: str = "") -> Source:
    """Parse every module of a package (of its folder ``under``)."""
    functions, every, classes, once, private, modules = [], [], [], [], 0, []
    for file in sorted(package.rglob("*.py")):
        path = file.relative_to(package)
        if not path.is_relative_to(under) or "tests" in path.parts:
            continue
        tree = ast.parse(file.read_text(encoding="utf-8"))
        modules.append(file)
        used = Counter(node.id for node in ast.walk(tree) if isinstance(node, ast.Name))
        used += Counter(node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute))
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                every.append(_definition(node, file))
                if node.name.startswith("_") and not node.name.startswith("__"):
                    private += 1
                    if used[node.name] == 1 and not node.decorator_list:
                        once.append(_definition(node, file))
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                functions.append(_definition(node, file))
            elif isinstance(node, ast.ClassDef):
                classes.append(_definition(node, file))
    return Source(tuple(functions), tuple(every), tuple(classes), tuple(once), private, tuple(modules))


def _definition(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, file: Path) -> Definition:
    return Definition(node.name, file, (node.end_lineno or node.lineno) - node.lineno + 1)


def one_word(definitions: tuple[Definition, ...], pattern: re.Pattern[str]) -> list[Definition]:
    """Those whose name is one word, without the dunder functions, whose names are given by Python."""
    return [each for each in definitions if pattern.fullmatch(each.name) and not each.name.startswith("__")]


def full_folders(source: Source, package: Path) -> dict[str, int]:
    """Folder → number of modules for folders of more than 15, without ``__init__`` and the folders of model families."""
    counts = Counter(file.parent for file in source.modules if not file.name.startswith("__"))
    return {
        str(folder.relative_to(package)): count
        for folder, count in counts.items()
        if folder.parent.name != "models" and count > 15
    }


def untested(source: Source, package: Path, tests: Path) -> list[Path]:
    """Modules without a test file of their name in the mirrored folder."""
    return [
        file
        for file in source.modules
        if not file.name.startswith("__")
        and not (tests / file.relative_to(package).parent / f"test_{file.stem.lstrip('_')}.py").is_file()
    ]


def main() -> None:
    """Print the figures and their goals, or what counts against one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--package", type=Path, default=ROOT / "src" / "leanrec")
    parser.add_argument("--under", default="", help="only modules in this folder of the package: data, models/deep")
    parser.add_argument("--list", choices=["functions", "classes", "once", "folders", "twice", "untested"])
    args = parser.parse_args()
    source = read_source(args.package, args.under)
    functions = one_word(source.functions, ONE_WORD_FUNCTION)
    classes = one_word(source.classes, ONE_WORD_CLASS)
    names = Counter(each.name for each in source.classes)
    twice = [each for each in source.classes if names[each.name] > 1]
    folders = full_folders(source, args.package)
    missing = untested(source, args.package, ROOT / "tests")
    if args.list:
        offenders = {"functions": functions, "classes": classes, "once": source.once, "twice": twice}
        for each in offenders.get(args.list, ()):
            print(f"{each.file.relative_to(args.package)}  {each.name}  {each.lines} lines")
        for file in missing if args.list == "untested" else ():
            print(file.relative_to(args.package))
        for folder, count in folders.items() if args.list == "folders" else ():
            print(folder, count)
        return
    lengths = sorted(each.lines for each in source.every_function) or [0]
    modules = [file for file in source.modules if not file.name.startswith("__")]
    rows = (
        ("one-word names of functions", len(functions) / max(1, len(source.functions)), 0.25),
        ("one-word names of classes", len(classes) / max(1, len(source.classes)), 0.30),
        ("private functions used once, of all", len(source.once) / max(1, len(source.every_function)), 0.15),
        ("modules without a test of their name", len(missing) / max(1, len(modules)), 0.10),
    )
    for name, share, goal in rows:
        print(f"{name:<42}{share:>7.1%}   goal ≤ {goal:.0%}   {'met' if share <= goal else 'MISSED'}")
    counted: tuple[tuple[str, float, int], ...] = (
        ("folders of more than 15 modules", len(folders), 0),
        ("class names defined twice", len({each.name for each in twice}), 4),
        ("lines of a function, 90th percentile", statistics.quantiles(lengths, n=10)[-1] if lengths[1:] else 0, 24),
    )
    for name, number, most in counted:
        print(f"{name:<42}{number:>7.0f}   goal ≤ {most}   {'met' if number <= most else 'MISSED'}")
    print(
        f"{len(modules)} modules, {len(source.functions)} functions, {len(source.classes)} classes, {source.private} private functions"
    )


if __name__ == "__main__":
    main()
