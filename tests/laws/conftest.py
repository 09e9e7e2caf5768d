"""Laws are stated in float64: their tolerances are its rounding."""

import jax
import pytest


@pytest.fixture(autouse=True)
def double():
    """Compute in float64 for the length of a test, the faults' runs of a law included."""
    with jax.enable_x64(True):
        yield
