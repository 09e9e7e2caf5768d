"""The specification of a mixture: component family, proportions, sizes and their number."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jax import Array
from jaxtyping import Float

from bayessoft.core.sizes import SizeConstraint
from bayessoft.core.sweep import Tiles, tiles
from bayessoft.data.rows import Rows
from bayessoft.families.family import SweptFamily, pytree
from bayessoft.families.gaussian import Gaussian
from bayessoft.families.weights import Dirichlet
from bayessoft.numerics import Affine, standardising

__all__ = ["Mixture"]


@pytree(static=("k", "sizes"))
@dataclass(frozen=True, eq=False)
class Mixture:
    """A mixture of k components, as a specification: it holds no data and no result.

    Parameters
    ----------
    k : int
        Number of components.
    family : Gaussian
        The components, with their prior.
    weights : Dirichlet or None
        Prior on the proportions; None is no prior, for maximum likelihood.
    sizes : Fixed, Between or None
        Constraint on the expected sizes; None leaves them free.

    Examples
    --------
    >>> mixture = Mixture(3, Gaussian("diag", prior="weak"))
    >>> mixture.k
    3
    """

    k: int
    family: SweptFamily = Gaussian()
    weights: Dirichlet | None = Dirichlet()
    sizes: SizeConstraint | None = None

    def build(self, rows: Rows) -> Mixture:
        """Replace every automatic setting by numbers taken from the rows, and check all of them.

        Raises
        ------
        OptionError
            A prior that does not fit the number of clusters or columns.
        """
        frame = standardising(rows.values, rows.weights, "affine")
        matrix = frame.matrix()
        family = self.family.resolved(self.k, (frame.shift, matrix @ matrix.T))
        return replace(self, family=family, weights=self.weights and self.weights.checked(self.k))

    def standardised(self, frame: Affine) -> Mixture:
        """Give the same specification for mapped rows; a size constraint stays behind: engines turn it into bounds."""
        return replace(self, family=self.family.standardised(frame), sizes=None)

    def lay_out(self, values: np.ndarray, weights: np.ndarray, frame: Affine) -> Tiles:
        """Map rows and lay them out on the device, inside `numerics.scoped`."""
        n, d = values.shape
        tile_rows = self.family.tile_rows(self.k, d)
        return tiles(lambda out: frame.apply(values, out), n, d, weights, values.dtype, tile_rows)

    def log_prior(self, weights: Any, parameters: Any) -> Array:
        """Log prior density of proportions and parameters; a part without a prior counts 0."""
        proportions = 0.0 if self.weights is None else self.weights.log_density(weights)
        return proportions + self.family.log_prior(parameters)

    def mode(self, statistics: Any, floor: Array | float) -> tuple[Float[Array, " k"], Any]:
        """Give the proportions and parameters that maximise prior times likelihood of the statistics."""
        weights = statistics.weight / statistics.weight.sum()
        if self.weights is not None:
            weights = self.weights.mode(statistics.weight)
        return weights, self.family.mode(statistics, floor)

    def n_parameters(self, d: int) -> int:
        """Number of free parameters for d columns."""
        proportions = 0 if self.sizes is not None and self.sizes.pinned else self.k - 1
        return self.family.n_parameters(self.k, d) + proportions

    def simulate(
        self, weights: np.ndarray, parameters: Any, n: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw n rows and the labels of their components, ordered by label."""
        labels = np.repeat(np.arange(self.k), rng.multinomial(n, weights / weights.sum()))
        return self.family.simulate(parameters, labels, rng), labels
