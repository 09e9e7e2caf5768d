"""The house rules that a machine can check: floors, sizes of files and functions, top-level folders, light imports."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

import bayessoft

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "bayessoft"

# From the ground up, without the leading "bayessoft.". A module imports strictly lower floors. A package's `__init__`
# (under the package's name) runs before its members, so it stands with the base file, below them; members of one
# package share a floor, so they do not import each other. An exact name goes before a pattern.
FLOORS = (
    ("errors",),
    ("numerics",),
    ("data", "data.tables"),
    ("data.rows", "data.records"),
    ("data.*",),
    ("families", "families.family"),
    ("families.covariance",),
    ("families.inverse_wishart",),
    (
        "families.structures",
        "families.normal_inverse_wishart",
        "families.independent_normal_inverse_wishart",
        "families.linear",
        "families.weights",
        "families.blocks",
    ),
    ("families.gaussian", "families.degrees_of_freedom"),
    ("families.*",),
    ("core", "core.assign", "core.elimination"),
    ("core.sweep", "core.pivots", "core.assignment", "core.demand", "core.merging"),
    ("core.sizes", "core.dual", "core.distributions", "core.allocate"),
    ("core.kernels", "core.overlaps", "core.bottleneck"),
    ("core.rearrange", "core.capacity", "core.certificate", "core.feasible"),
    ("core.fuzzy", "core.annealing", "core.refine"),
    ("core.scores", "core.rounding"),
    ("mixture", "status"),
    ("posteriors",),
    ("fit",),
    ("inference", "inference.engine"),
    ("inference.unconstrained", "inference.refusals", "inference.seeding"),
    ("inference.start",),
    ("inference.priced", "inference.kernel"),
    ("inference.*",),
    ("inference.svi", "inference.annealing"),
    ("inference.run", "arviz_io"),
    ("diagnostics", "diagnostics.base"),
    ("diagnostics.*",),
    ("studies", "studies.base"),
    ("studies.*",),
    ("estimators", "estimators.base", "estimators.posterior"),
    ("estimators.criticism", "estimators.assigning", "estimators.bottleneck_path", "estimators.joint_table"),
    ("estimators.mixture_estimator",),
    ("estimators.*",),
    ("densities", "densities.bandwidths"),
    ("densities.mixture_density",),
    ("densities.reduction",),
    ("store", "canvas"),
    ("*_plots",),
    ("plots",),
    ("report", "report.bounds", "report.layout", "report.methods", "report.record", "report.units"),
    ("report.base",),
    ("report.*",),
    ("commands", "commands.base"),
    ("commands.*",),
    ("cli",),
)
# Upward imports that are allowed inside a function: (module, target, why).
EXCEPTIONS = (
    ("estimators.*", "store", "`estimator.save(path)`: the store builds estimators, so it stands above them"),
)
# Lower floors that stay unknown all the same: (module, target, why).
STRANGERS = (("inference.*", "families.*", "engines and families meet in mixture.py"),)
KNOWN = ("families.family",)  # ... except for the contracts
# Third-party packages with one door.
DOORS = {"arviz": "arviz_io"}

MODULE_LINES, BODY_LINES = 400, 60
HEAVY = ("jax", "sklearn", "numpyro", "arviz", "matplotlib")


def module_name(path: Path) -> str:
    """The dotted name below bayessoft; a package's `__init__` has the package's name, the root's is empty."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def matches(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern)


def floor(name: str) -> int | None:
    """The index of the module's floor; None where it has none."""
    for exact in (True, False):
        for index, patterns in enumerate(FLOORS):
            if any(name == p if exact else matches(name, p) for p in patterns):
                return index
    return None


def imported(tree: ast.Module, name: str, is_package: bool) -> Iterator[tuple[int, str, bool]]:
    """(line, absolute dotted target, whether inside a function) of every import, `import_module("...")` included."""
    inside = {
        id(n) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef | ast.AsyncFunctionDef) for n in ast.walk(f)
    }
    package = ["bayessoft", *name.split(".")] if name else ["bayessoft"]
    for node in ast.walk(tree):
        targets: list[str] = []
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + is_package] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            targets = [f"{base}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            targets = [a.value for a in node.args[:1] if isinstance(a, ast.Constant) and isinstance(a.value, str)]
        for target in targets:
            yield node.lineno, target, id(node) in inside


def own_module(target: str, modules: frozenset[str]) -> str | None:
    """The module below bayessoft that a dotted target names, "" for the root itself, None for a foreign package."""
    head, *rest = target.split(".")
    if head != "bayessoft":
        return None
    while rest and ".".join(rest) not in modules and not (len(rest) == 1 and floor(rest[0]) is not None):
        rest.pop()  # a name inside a module, not a module
    return ".".join(rest)


def import_faults(source: str, name: str, is_package: bool = False, modules: frozenset[str] | None = None) -> list[str]:
    """`line: what is wrong` for every import of the module that the house forbids."""
    modules = frozenset(FILES) if modules is None else modules
    faults = []
    for line, target, lazy in imported(ast.parse(source), name, is_package):
        own = own_module(target, modules)
        foreign = target.split(".")[0]
        if own is None:
            if DOORS.get(foreign, name) != name:
                faults.append(f"{line}: {name} imports {foreign}, which only {DOORS[foreign]} does")
        elif own == "":
            faults.append(f"{line}: {name} imports the root package ({target})")
        elif any(lazy and matches(name, who) and own == what for who, what, _ in EXCEPTIONS):
            continue
        elif (here := floor(name)) is None or (there := floor(own)) is None:
            faults.append(f"{line}: {name if here is None else own} has no floor: add it to FLOORS")
        elif there >= here:
            faults.append(f"{line}: {name} imports {own}, which is not on a lower floor")
        elif any(matches(name, who) and matches(own, what) and own not in KNOWN for who, what, _ in STRANGERS):
            faults.append(f"{line}: {name} imports {own}, which it is not to know")
    return list(dict.fromkeys(faults))  # once for `from x import a, b`


def long_bodies(source: str) -> list[str]:
    """`line: function and length` for every function body over the limit, signature and docstring aside."""
    faults = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        body = node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body
        if not body:
            continue
        first = min([body[0].lineno, *(d.lineno for d in getattr(body[0], "decorator_list", []))])
        length = (node.end_lineno or first) - first + 1
        if length > BODY_LINES:
            faults.append(f"{node.lineno}: the body of {node.name} has {length} lines, over {BODY_LINES}")
    return faults


def located(path: Path, faults: list[str]) -> list[str]:
    return [f"{path.relative_to(ROOT)}:{fault}" for fault in faults]


def report(faults: list[str]) -> None:
    if faults:
        pytest.fail("\n".join(faults), pytrace=False)


def test_imports_go_down() -> None:
    # The root resolves the public names, whatever their floor; the test of its table is below.
    report(
        [
            fault
            for name, path in FILES.items()
            if name
            for fault in located(path, import_faults(path.read_text("utf-8"), name, path.name == "__init__.py"))
        ]
    )


def test_every_module_has_a_floor() -> None:
    report(
        [
            f"{path.relative_to(ROOT)}:1: {name} has no floor"
            for name, path in FILES.items()
            if name and floor(name) is None
        ]
    )


def test_modules_and_functions_are_short() -> None:
    faults = []
    for path in FILES.values():
        source = path.read_text("utf-8")
        if (lines := len(source.splitlines())) > MODULE_LINES:
            faults.append(
                f"{path.relative_to(ROOT)}:{MODULE_LINES + 1}: the module has {lines} lines, over {MODULE_LINES}"
            )
        faults += located(path, long_bodies(source))
    report(faults)


def test_top_level_folders() -> None:
    # A checkout made by another user (a container, say) is read all the same.
    command = ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z"]
    if (ROOT / ".git").exists():
        tracked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    else:  # an unpacked source distribution
        tracked = [f"{path.name}/" for path in ROOT.iterdir() if path.is_dir()]
    folders = {name.split("/")[0] for name in tracked if "/" in name and not name.startswith(".")}
    assert folders == {"bayessoft", "tests", "examples", "docs"}


def test_public_names_agree() -> None:
    """The table, `__all__` and the block for type checkers state the same names and homes."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text("utf-8"))
    block = next(n for n in tree.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING")
    homes = {a.name: n.module for n in block.body if isinstance(n, ast.ImportFrom) for a in n.names}
    assert homes == bayessoft._HOMES
    assert {*homes, "__version__"} == set(bayessoft.__all__) <= set(dir(bayessoft))


def test_public_names_resolve() -> None:
    for name in bayessoft.__all__:
        assert getattr(bayessoft, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Gausian'"):
        bayessoft.Gausian  # noqa: B018 - looking it up is the test


def run_python(code: str) -> str:
    """The last line that a fresh interpreter prints, with no JAX setting in its environment."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("JAX_", "XLA_"))}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


LOADED = f"import sys; print([m for m in {HEAVY} if m in sys.modules])"
HELP = """
import sys
from bayessoft.cli import main
sys.argv = ["bayessoft", "--help"]
try:
    main()
except SystemExit as stop:
    if stop.code:
        raise
"""


@pytest.mark.parametrize("code", ["import bayessoft", HELP], ids=["import", "help"])
def test_nothing_heavy_is_loaded(code: str) -> None:
    assert run_python(f"{code}\n{LOADED}") == "[]"


def test_import_leaves_x64_off() -> None:
    assert run_python("import bayessoft, jax; print(jax.config.jax_enable_x64)") == "False"


def test_no_public_name_changes_a_jax_setting() -> None:
    code = """
import os, jax, numpyro
def settings():
    return dict(jax.config.values), {k: v for k, v in os.environ.items() if k.startswith(("JAX_", "XLA_"))}
before = settings()
import bayessoft
for name in bayessoft.__all__:
    getattr(bayessoft, name)
print(settings() == before)
"""
    assert run_python(code) == "True"


MODULES = frozenset(
    ["errors", "core", "core.sweep", "families", "families.family", "families.gaussian", "families.poisson"]
    + ["mixture", "fit", "inference", "inference.engine", "inference.em", "estimators", "estimators.base", "store"]
)


@pytest.mark.parametrize(
    ("name", "source", "line", "words"),
    [
        ("core.sweep", "import numpy\nfrom bayessoft.mixture import Mixture\n", 2, "not on a lower floor"),
        ("core.sweep", "def f():\n    import bayessoft.fit as fit\n", 2, "not on a lower floor"),
        ("core.sweep", "from ..fit import Fit\n", 1, "imports fit"),
        ("core.sweep", "from .. import mixture\n", 1, "imports mixture"),
        ("core.sweep", "import importlib\nimportlib.import_module('bayessoft.fit')\n", 2, "imports fit"),
        ("core.sweep", "if TYPE_CHECKING:\n    from bayessoft.fit import Fit\n", 2, "imports fit"),
        ("families.gaussian", "from bayessoft.families.poisson import Poisson\n", 1, "not on a lower floor"),
        ("families.family", "from bayessoft.families import gaussian\n", 1, "imports families.gaussian"),
        ("mixture", "from bayessoft import Dirichlet\n", 1, "root package"),
        ("mixture", "import bayessoft\n", 1, "root package"),
        ("mixture", "from bayessoft.cellar import wine\n", 1, "root package"),
        ("cellar", "from bayessoft import errors\n", 1, "no floor"),
        ("inference.em", "from bayessoft.families.gaussian import Gaussian\n", 1, "not to know"),
        ("estimators.base", "from bayessoft.store import save\n", 1, "not on a lower floor"),
        ("store", "import arviz as az\n", 1, "only arviz_io"),
    ],
)
def test_a_planted_import_is_caught(name: str, source: str, line: int, words: str) -> None:
    (fault,) = import_faults(source, name, modules=MODULES)
    assert fault.startswith(f"{line}: ")
    assert words in fault


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("core.sweep", "import jax\nfrom bayessoft import errors\nfrom bayessoft.families.family import Family\n"),
        ("families.gaussian", "from .family import Family\nfrom .. import errors\n"),
        (
            "inference.em",
            "from bayessoft.inference.engine import Engine\nfrom bayessoft.families.family import Family\n",
        ),
        ("estimators.base", "def save(self, path):\n    from bayessoft import store\n"),
        ("arviz_io", "import arviz\n"),
    ],
)
def test_a_lawful_import_passes(name: str, source: str) -> None:
    assert import_faults(source, name, modules=MODULES) == []


def test_a_relative_import_in_a_package_file_is_resolved() -> None:
    (fault,) = import_faults("from .gaussian import Gaussian\n", "families", is_package=True, modules=MODULES)
    assert "families imports families.gaussian" in fault


def test_a_long_body_is_caught() -> None:
    def function(lines: int) -> str:
        return 'def f(\n    x,\n):\n    """One.\n\n    Two.\n    """\n' + "    x += 1\n" * lines

    assert long_bodies(function(BODY_LINES)) == []
    assert long_bodies(function(BODY_LINES + 1)) == [f"1: the body of f has {BODY_LINES + 1} lines, over {BODY_LINES}"]
