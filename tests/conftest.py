"""What every test run shares: one cache of compiled programs, no display, fixed seeds."""

import os
import shutil
import sys
import tempfile

# Set before anything imports JAX or matplotlib, and in the environment, so that subprocesses share them. A cache kept
# by whoever runs the tests is honoured.
OWN_CACHE = None if "JAX_COMPILATION_CACHE_DIR" in os.environ else tempfile.mkdtemp(prefix="bayessoft-tests-jax-")
if OWN_CACHE is not None:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = OWN_CACHE
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
# The default run compiles more than it computes: LLVM's optimisations are left out, which saves a third of its time.
# The statistical run computes for long, and keeps them, as users do. Processes that the run starts inherit the choice.
if "PYTEST_XDIST_WORKER" not in os.environ and not any("statistical" in argument for argument in sys.argv):
    os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
os.environ["MPLBACKEND"] = "Agg"

import numpy as np  # noqa: E402
import pytest  # noqa: E402


@pytest.fixture(autouse=True)
def fixed_seed():
    """Seed NumPy's global state, which scikit-learn and `random_state=None` draw from."""
    np.random.seed(0)


@pytest.fixture(autouse=True)
def programs_dropped(request):
    """Drop the compiled programs of a long test: thousands of them exhaust the memory maps a process may have."""
    yield
    if request.node.get_closest_marker("statistical"):
        import jax

        jax.clear_caches()


def pytest_unconfigure() -> None:
    """Remove the cache that this run made."""
    if OWN_CACHE is not None:
        shutil.rmtree(OWN_CACHE, ignore_errors=True)
