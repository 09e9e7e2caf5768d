"""What every test run shares: one cache of compiled programs, no display, fixed seeds."""

import os
import shutil
import subprocess
import sys
import tempfile
from itertools import count
from pathlib import Path

# Set before anything imports JAX or matplotlib, and in the environment, so that subprocesses share them. A cache kept
# by whoever runs the tests is honoured.
OWN_CACHE = None if "JAX_COMPILATION_CACHE_DIR" in os.environ else tempfile.mkdtemp(prefix="bayessoft-tests-jax-")
if OWN_CACHE is not None:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = OWN_CACHE
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
# The default run compiles more than it computes: LLVM's optimisations are left out, which saves a third of its time,
# and XLA's fusion emitters, which saves half of the rest; not every XLA knows those, and one that does not would end
# the process. The statistical run computes for long, and keeps all, as users do, but for what `test_compiling` starts
# processes for. Processes that a run starts inherit the choice.
PART = os.environ.get("TESTS_PART")  # "2/6": every sixth, from the third on, of the statistical tests that compile
COMPUTING = (  # files of which the statistical tests compute more than they compile
    *("test_examples.py", "test_samplers_are_exact.py", "test_calibration.py", "test_checkpoint.py"),
    *("test_independent_prior.py", "test_gibbs.py", "test_sizes.py", "test_compiling.py"),
)
if (
    "PYTEST_XDIST_WORKER" not in os.environ
    and "XLA_FLAGS" not in os.environ
    and (PART or not any("statistical" in argument for argument in sys.argv))
):
    PLAIN = "--xla_backend_optimization_level=0"
    SIMPLE = f"{PLAIN} --xla_cpu_use_fusion_emitters=false"
    known = subprocess.run(
        [sys.executable, "-c", "import jax; jax.devices()"], env=os.environ | {"XLA_FLAGS": SIMPLE}, capture_output=True
    )
    os.environ["XLA_FLAGS"] = PLAIN if known.returncode else SIMPLE
os.environ["MPLBACKEND"] = "Agg"

import numpy as np  # noqa: E402
import pytest  # noqa: E402

TESTS, MAPS = count(1), Path("/proc/self/maps")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    """Leave statistical tests that compile to the processes of `test_compiling`, where that is part of the run."""
    compiling = [item for item in items if item.path.name not in COMPUTING and item.get_closest_marker("statistical")]
    if PART:
        part, parts = map(int, PART.split("/"))
        kept = set(compiling[part::parts])
    elif any(item.path.name == "test_compiling.py" for item in items):
        kept = set(items).difference(compiling)
    else:
        return
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = [item for item in items if item in kept]


@pytest.fixture(autouse=True)
def fixed_seed():
    """Seed NumPy's global state, which scikit-learn and `random_state=None` draw from."""
    np.random.seed(0)


@pytest.fixture
def hardly_optimised():
    """Leave most of XLA's optimisations out, in a test that compiles for many shapes and computes for none of them."""
    import jax

    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(autouse=True)
def programs_dropped(request):
    """Drop compiled programs after a long test, or once there are many: they use up a process's memory maps."""
    yield
    if request.node.get_closest_marker("statistical") or crowded():
        import jax

        jax.clear_caches()


def crowded() -> bool:
    """Whether a third of the memory maps that Linux grants by default are in use; looked at now and then."""
    if next(TESTS) % 5 or not MAPS.exists():
        return False
    with MAPS.open("rb") as maps:
        return sum(1 for _ in maps) > 24_000


def pytest_unconfigure() -> None:
    """Remove the cache that this run made."""
    if OWN_CACHE is not None:
        shutil.rmtree(OWN_CACHE, ignore_errors=True)
