"""Imports point down, files stay short, nothing is unpickled without care."""

import ast
import re
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# From the bottom up; a module imports only modules of lower lines, or of its own line further left.
# A new module is added where it belongs. A folder stands for its modules (no cycles among them).
LAYERS = """
vidjacobi.shapes vidjacobi.errors vidjacobi.kinds vidjacobi.registry vidjacobi.processes
vidjacobi.invariance vidjacobi.runtime
vidjacobi.output vidjacobi.sampling vidjacobi.config vidjacobi.models
vidjacobi.video
vidjacobi.datasets vidjacobi.decoding vidjacobi.testing
cosmos_adapter vidjacobi.families vidjacobi.assets vidjacobi.loading vidjacobi.provenance vidjacobi.acting
vidjacobi.html_report vidjacobi.rollouts vidjacobi.rollouts.worlds vidjacobi.session vidjacobi.pictures
vidjacobi.bench vidjacobi.estimate vidjacobi.eval vidjacobi.batch
vidjacobi.eval.policies vidjacobi.export vidjacobi.gym vidjacobi.play vidjacobi.eval.actions vidjacobi.eval.pictures
vidjacobi vidjacobi.cli vidjacobi.__main__
""".split()  # noqa: SIM905
# The adapters: nobody imports them at start-up, and that of Cosmos sees only what a model needs.
LAZY_ONLY = (
    *("cosmos_adapter", "vidjacobi.families", "vidjacobi.rollouts.worlds"),
    *("vidjacobi.eval", "vidjacobi.eval.policies", "vidjacobi.eval.actions", "vidjacobi.eval.pictures"),
)
MAY_IMPORT_THEM = {"vidjacobi.loading", "vidjacobi.acting", "vidjacobi.cli", "vidjacobi.play"}
ADAPTER_SEES = tuple(
    f"vidjacobi.{name}"
    for name in ("shapes", "errors", "invariance", "kinds", "registry", "runtime", "models")
)
# with an Unpickler that makes arrays only, of one file whose sha256 is known; that makes tensors only
MAY_UNPICKLE = {"eval/i3d_weights.py", "cosmos_adapter/tokenizer/torchscript.py"}
PICKLE_ERRORS = ("UnpicklingError", "PickleError")
PICKLES = ("pickle", "_pickle", "cPickle", "pickletools")
LONGEST = 300
LONGER = {"cosmos_adapter/tokenizer/network.py": 420}

FILES = sorted(
    path
    for package in ("vidjacobi", "cosmos_adapter", "eval")
    for path in (ROOT / package).rglob("*.py")
    if not any(parent.is_symlink() for parent in path.relative_to(ROOT).parents if parent.name)
    and not (ROOT / package / "eval" in path.parents or ROOT / package / "configs" in path.parents)
)


def module_of(path: Path) -> str:
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    if parts[0] == "eval":
        parts.insert(0, "vidjacobi")
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def layer_of(module: str) -> str:
    """The entry of LAYERS that a module or imported name belongs to."""
    entries = [entry for entry in LAYERS if module == entry or module.startswith(entry + ".")]
    return max(entries, key=len, default="")


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def imports_of(path: Path) -> list[tuple[str, bool]]:
    """(imported module, whether inside a function), of our own packages; typing-only imports left out."""
    tree = tree_of(path)
    found: list[tuple[str, bool]] = []

    def visit(node: ast.AST, lazy: bool) -> None:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            return
        if isinstance(node, ast.Import):
            found.extend((alias.name, lazy) for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path.name}: relative imports hide the layer; write the whole name"
            found.extend((whole_name(node.module or "", alias.name), lazy) for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child, lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda))

    visit(tree, lazy=False)
    return [(name, lazy) for name, lazy in found if name.split(".")[0] in ("vidjacobi", "cosmos_adapter")]


def whole_name(module: str, name: str) -> str:
    """``from a import b`` imports a.b if that is a module, else a."""
    return f"{module}.{name}" if f"{module}.{name}" in module_names() else module


@cache
def module_names() -> set[str]:
    return {module_of(path) for path in FILES}


def test_imports_point_down() -> None:
    for path in FILES:
        module = module_of(path)
        own = layer_of(module)
        if path.name != "__init__.py" or module != "vidjacobi":
            assert own != "vidjacobi", (
                f"{module} is in no layer: add it to LAYERS in this test, above everything that it imports"
            )
        for imported, lazy in imports_of(path):
            target = layer_of(imported)
            if target == own:
                continue
            if lazy and target in LAZY_ONLY:
                assert own in MAY_IMPORT_THEM, f"{module} imports {imported}: only {MAY_IMPORT_THEM} may"
                continue
            assert target not in LAZY_ONLY or own in LAZY_ONLY, (
                f"{module} imports {imported} at start-up: do it inside the function that needs it"
            )
            assert LAYERS.index(target) < LAYERS.index(own), (
                f"{module} imports {imported}, which is above it: move what they share further down"
            )
            if own == "cosmos_adapter":
                assert imported.startswith(ADAPTER_SEES), (
                    f"{module} imports {imported}: the adapter sees {ADAPTER_SEES}"
                )


def test_no_folder_imports_in_a_circle() -> None:
    names = {module_of(path): [name for name, lazy in imports_of(path) if not lazy] for path in FILES}
    graph = {module: [name for name in found if name in names] for module, found in names.items()}
    list(TopologicalSorter(graph).static_order())  # raises CycleError, which shows the circle


def test_no_layer_is_empty() -> None:
    modules = {layer_of(module_of(path)) for path in FILES}
    assert set(LAYERS) <= modules, f"in LAYERS but gone: {set(LAYERS) - modules}"


def test_files_stay_short() -> None:
    for path in FILES:
        name = path.relative_to(ROOT).as_posix()
        lines = len(path.read_text().splitlines())
        assert lines <= LONGER.get(name, LONGEST), f"{name} has {lines} lines: split it by what it is about"
        assert path.stem not in ("utils", "helpers", "misc", "common"), f"{name}: name it after what it does"


def test_nothing_is_unpickled() -> None:
    for path in FILES:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if re.search(r"\btorch\.load\(", line.split("#")[0]):
                assert "weights_only=True" in line, (
                    f"{path.name}:{number}: torch.load without weights_only=True"
                )
            assert not re.search(r"\b(dill|joblib)\b", line), f"{path.name}:{number}: reads a pickle"
            assert not re.search(r"allow_pickle=(?!False)", line), f"{path.name}:{number}: reads a pickle"
        name = path.relative_to(ROOT).as_posix()
        problems = pickle_problems(tree_of(path), may_restrict=name in MAY_UNPICKLE)
        assert not problems, f"{name}: {'; '.join(problems)}: reading a pickle can run anything"


def pickle_problems(tree: ast.AST, may_restrict: bool) -> list[str]:
    """Uses of ``pickle`` but its errors and, if allowed, the base of a class with its own ``find_class``."""
    restricted: set[ast.AST] = set()
    problems = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and may_restrict:
            bases = [base for base in node.bases if ast.unparse(base) == "pickle.Unpickler"]
            own = [
                part for part in node.body if isinstance(part, ast.FunctionDef) and part.name == "find_class"
            ]
            if own and "super()" not in ast.unparse(own[0]) and "pickle.Unpickler" not in ast.unparse(own[0]):
                restricted.update(bases)
        if isinstance(node, ast.Import):
            aliases = [n for n in node.names if n.name in PICKLES and (n.asname or n.name != "pickle")]
            problems += [f"line {node.lineno} imports {n.name} under another name" for n in aliases]
        if isinstance(node, ast.ImportFrom) and node.module in PICKLES:
            taken = [n.name for n in node.names if n.name not in PICKLE_ERRORS]
            problems += [f"line {node.lineno} imports {', '.join(taken)} from {node.module}"] if taken else []
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id == "pickle":
            uses = [n for n in ast.walk(tree) if isinstance(n, ast.Attribute) and n.value is node]
            if not uses or (uses[0].attr not in PICKLE_ERRORS and uses[0] not in restricted):
                problems.append(f"line {node.lineno} uses pickle")
    return problems


@pytest.mark.parametrize(
    ("source", "may_restrict", "safe"),
    [
        ("import pickle\ntry: pass\nexcept pickle.UnpicklingError: pass", False, True),
        ("from pickle import UnpicklingError", False, True),
        ("import pickle\npickle.load(f)", True, False),
        ("import pickle\nread = pickle\nread.load(f)", True, False),
        ("from pickle import loads", True, False),
        ("import pickle as p", True, False),
        ("import _pickle", True, False),
        ("import pickle\npickle.Unpickler(f).load()", True, False),
        ("import pickle\nclass A(pickle.Unpickler): pass", True, False),
        ("import pickle\nclass A(pickle.Unpickler):\n def find_class(self, m, n): raise E", True, True),
        ("import pickle\nclass A(pickle.Unpickler):\n def find_class(self, m, n): raise E", False, False),
        (
            "import pickle\nclass A(pickle.Unpickler):\n def find_class(self, m, n): return super().find_class(m, n)",
            *(True, False),
        ),
    ],
)
def test_pickle_problems_are_found(source: str, may_restrict: bool, safe: bool) -> None:
    assert (pickle_problems(ast.parse(source), may_restrict) == []) is safe


def test_annotations_are_evaluated() -> None:
    """Postponed ones would switch the shape checks of the tests off."""
    for path in FILES:
        assert "from __future__ import annotations" not in path.read_text()
