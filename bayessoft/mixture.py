"""The specification of a mixture: component family, proportions, sizes and their number."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from jax import Array, lax
from jaxtyping import Float

from bayessoft.core.assign import assign
from bayessoft.core.distributions import RowDistribution, TableDistribution
from bayessoft.core.sizes import Near, SizeConstraint
from bayessoft.core.sweep import Tiles, tiles, with_beside
from bayessoft.data.rows import Rows, fresh, rows
from bayessoft.errors import OptionError
from bayessoft.families.family import ConjugateFamily, GibbsFamily, Sample, SweptFamily, lacking, pytree
from bayessoft.families.gaussian import Gaussian
from bayessoft.families.weights import Dirichlet, Equal
from bayessoft.numerics import Affine

__all__ = ["Mixture", "handed"]


@pytree(static=("k", "sizes"))
@dataclass(frozen=True, eq=False)
class Mixture:
    """A mixture of k components, as a specification: it holds no data and no result.

    Parameters
    ----------
    k : int
        Number of components.
    family : Gaussian, StudentT, Poisson, Bernoulli, Categorical, Multinomial or Product
        The components, with their prior.
    weights : Dirichlet or None
        Prior on the proportions; None is no prior, for maximum likelihood.
    sizes : Fixed, Between, Capacity, Several or None
        Constraint on the sizes, as the engine takes it; None leaves them free.

    Examples
    --------
    >>> mixture = Mixture(3, Gaussian("diag", prior="weak"))
    >>> mixture.k
    3
    """

    k: int
    family: SweptFamily = Gaussian()
    weights: Dirichlet | Equal | None = Dirichlet()
    sizes: SizeConstraint | None = None

    def __post_init__(self) -> None:
        """Refuse a prior that is stated as a constraint."""
        if isinstance(self.sizes, Near):
            raise OptionError(f"{self.sizes!r} is a prior on the proportions: pass its .prior() as weights")

    def build(self, rows: Rows) -> Mixture:
        """Replace every automatic setting by numbers taken from the rows, and check all of them.

        Raises
        ------
        OptionError
            A prior that does not fit the number of clusters or columns, or sizes that these rows cannot have.
        """
        if self.sizes is not None:
            self.sizes.demand(self.k, rows.weights)
        family = self.family.resolved(self.k, rows)
        return replace(self, family=family, weights=self.weights and self.weights.checked(self.k))

    def proper(self) -> Mixture:
        """Give the same specification with a weak prior and Dirichlet(1) where it has none: a posterior needs them."""
        return replace(self, family=self.family.proper(), weights=self.weights or Dirichlet())

    def standardised(self, frame: Affine) -> Mixture:
        """Give the same specification for mapped rows; a size constraint stays behind: engines turn it into bounds."""
        return replace(self, family=self.family.standardised(frame), sizes=None)

    def lay_out(
        self,
        values: np.ndarray,
        weights: np.ndarray,
        frame: Affine,
        tile_rows: int | None = None,
        resources: np.ndarray | None = None,
        evidence: np.ndarray | None = None,
    ) -> Tiles:
        """Map rows and lay them out on the device, inside `numerics.scoped`, in tiles as the family wants them."""
        tile_rows = tile_rows or self.family.tile_rows(self.k, values.shape[1])

        def mapped(part: np.ndarray) -> np.ndarray:
            return self.family.encoded(frame.apply(part))

        return with_beside(tiles(values, weights, values.dtype, tile_rows, mapped), evidence, resources)

    def log_prior(self, weights: Any, parameters: Any) -> Array:
        """Log prior density of proportions and parameters; a part without a prior counts 0."""
        proportions = 0.0 if self.weights is None else self.weights.log_density(weights)
        return proportions + self.family.log_prior(parameters)

    def mode(self, statistics: Any, floor: Array | float) -> tuple[Float[Array, " k"], Any]:
        """Give the proportions and parameters that maximise prior times likelihood of the statistics."""
        members = self.family.members(statistics)
        weights = members / members.sum() if self.weights is None else self.weights.mode(members)
        return weights, self.family.mode(statistics, floor)

    def update(self, statistics: Any) -> Mixture:
        """Give the mixture after rows with these statistics: its priors are the posteriors, so updates chain."""
        family, weights = self._conjugate()
        return replace(self, family=family.update(statistics), weights=weights.update(statistics.weight))

    def redraw(
        self, parameters: Any, statistics: Any, sizes: Float[Array, " k"], sample: Sample
    ) -> tuple[Float[Array, " k"], Any]:
        """Draw proportions given the rows of each cluster, and parameters, by a Gibbs step, given the statistics."""
        family, weights = self.drawable()
        with jax.default_matmul_precision("highest"):
            return weights.update(sizes).draw(sample, self.k), family.redraw(parameters, statistics, sample)

    def blend(self, other: Mixture, rate: Array) -> Mixture:
        """Give the mixture whose priors have natural parameters ``(1 - rate) * own + rate * those of other``.

        Both have priors for each component, as `update` gives them.
        """
        (family, weights), (other_family, other_weights) = self._conjugate(), other._conjugate()
        return replace(self, family=family.blend(other_family, rate), weights=weights.blend(other_weights, rate))

    def centre(self) -> tuple[Float[Array, " k"], Any]:
        """Give the expected proportions, and parameters at the centre of their priors."""
        return self.mean_weights(), self._conjugate()[0].centre(self.k)

    def exchangeable(self) -> Any:
        """Give each cluster the number of the first one that has the same priors: those may change places."""
        family, weights = self.drawable()
        alpha = weights.concentration
        same = family.same_prior(self.k)
        if np.ndim(alpha) > 0:
            same = same & (alpha[:, None] == alpha[None])
        return same.argmax(axis=0)

    def expected(self) -> tuple[Float[Array, " k"], Any]:
        """Give log proportions and parameters under which a pass sums expected log densities over the priors."""
        family, weights = self._conjugate()
        parameters, constant = family.expected(self.k)
        return weights.expected_log() + constant, parameters

    def mean_weights(self) -> Float[Array, " k"]:
        """Give the expected proportions."""
        alpha = jnp.asarray(self._conjugate()[1].concentration)
        return alpha / alpha.sum()

    def predictive(self, rows: Tiles) -> tuple[Float[Array, "T t"], Float[Array, "T k t"]]:
        """Give log densities and memberships of every row with proportions and parameters integrated out."""
        none = jnp.zeros(self.k, rows.x.dtype)
        return lax.map(lambda own: assign(own, none), self.predictive_logits(rows))

    def predictive_logits(self, rows: Tiles) -> Float[Array, "T k t"]:
        """Give the log of the expected proportion times the predictive density of each component for every row."""
        family, log_weights = self._conjugate()[0], jnp.log(self.mean_weights())
        found = lax.map(lambda x: family.tile_predictive(self.k, x) + log_weights[:, None], rows.x)
        return found if rows.beside is None or rows.beside.evidence is None else found + rows.beside.evidence

    def divergence(self, other: Mixture) -> Array:
        """Kullback-Leibler divergence of these priors from those of `other`, in nats."""
        (family, weights), (other_family, other_weights) = self._conjugate(), other._conjugate()
        return family.divergence(other_family, self.k) + weights.divergence(other_weights)

    def _conjugate(self) -> tuple[ConjugateFamily, Dirichlet]:
        """Give family and proportions, both with their priors; engines refuse what has none before."""
        weights = self.weights
        if not isinstance(weights, Dirichlet) or lacking(self.family, ConjugateFamily) or self.family.prior is None:
            raise OptionError("only conjugate families under a prior have a posterior in closed form")
        return cast(ConjugateFamily, self.family), weights

    def drawable(self) -> tuple[GibbsFamily, Dirichlet]:
        """Give family and proportions, both with their priors, of which parameters can be drawn given labels."""
        if not isinstance(self.weights, Dirichlet) or lacking(self.family, GibbsFamily) or self.family.prior is None:
            raise OptionError(
                "only families with a Gibbs step, under a prior, have their parameters drawn given labels"
            )
        return cast(GibbsFamily, self.family), self.weights

    def simulate(
        self, weights: np.ndarray, parameters: Any, n: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw n rows and the labels of their components, ordered by label."""
        labels = np.repeat(np.arange(self.k), rng.multinomial(n, weights / weights.sum()))
        return self.family.simulate(parameters, labels, rng), labels

    def draw(self, sample: Sample) -> tuple[Float[Array, " k"], Any]:
        """Draw proportions and parameters from the prior through `sample`, for example ``numpyro.sample``."""
        if not isinstance(self.weights, Dirichlet):
            raise OptionError("the proportions have no prior to draw from: pass weights=Dirichlet()")
        with jax.default_matmul_precision("highest"):  # in the products of distributions, too
            return self.weights.draw(sample, self.k), self.family.draw(sample, self.k)

    def sites(self, weights: Float[Array, " k"], parameters: Any) -> dict[str, Array]:
        """Give what the sites of `draw` have to be for it to give these proportions and parameters."""
        return {"weights": weights, **self.family.sites(parameters)}

    def row_distribution(self, weights: Float[Array, " k"], parameters: Any) -> RowDistribution:
        """Give the NumPyro distribution of a row, for a plate over rows."""
        return RowDistribution(self.family, weights, parameters)

    def table_distribution(
        self, weights: Float[Array, " k"], parameters: Any, n: int, row_weights: Float[Array, " n"] | None = None
    ) -> TableDistribution:
        """Give the NumPyro distribution of a table of n rows, whose log density is one pass over them."""
        return TableDistribution(self.family, weights, parameters, n, row_weights)

    def numpyro_model(self, X: Any = None, n: int | None = None) -> Array:
        """Be a NumPyro model of a table, in JAX's own dtype: for ``MCMC``, ``Predictive`` and handlers.

        Sites are ``weights``, those of the family, and ``x``, the table as one site. Those of Gaussians are ``means``,
        and ``precisions_cholesky`` (full and tied covariances: the lower triangular Cholesky factor of the precision
        matrix with its rows and columns reversed) or ``precisions`` (variances), and those of an unknown scale, see
        `IndependentNormalInverseWishart.draw`.

        Parameters
        ----------
        X : array of shape (n, d), optional
            The rows; without them the model draws n rows (the prior predictive).
        n : int, optional
            Number of rows to draw.

        Returns
        -------
        array of shape (n, d)
            The rows.

        Raises
        ------
        OptionError
            Neither `X` nor `n`, or an `n` that is not the number of rows of `X`; no `X` while the prior is not in
            numbers; or a size constraint, which is one on a fit.

        Notes
        -----
        A prior that is None counts as "weak", taken from X, and as Dirichlet(1).

        Examples
        --------
        >>> import jax, numpy as np
        >>> from numpyro.infer import Predictive
        >>> from bayessoft.families.normal_inverse_wishart import NormalInverseWishart
        >>> prior = NormalInverseWishart(np.zeros(2), 0.1, 4.0, np.eye(2))
        >>> mixture = Mixture(3, Gaussian(prior=prior))
        >>> Predictive(mixture.numpyro_model, num_samples=5)(jax.random.key(0), n=10)["x"].shape
        (5, 10, 2)
        """
        if self.sizes is not None:
            raise OptionError("sizes constrain a fit, not a model to draw from: leave them out, or pass a Dirichlet")
        if X is None and n is None:
            raise OptionError("nothing says how many rows there are: pass the rows X, or their number n")
        if X is not None and n not in (None, len(X)):
            raise OptionError(f"n={n} but X has {len(X)} rows: leave n out, or pass it without X")
        weights, parameters = jax.tree.map(handed, self.in_numbers(X)).draw(numpyro.sample)
        if X is None:
            assert n is not None
            return numpyro.sample("x", self.table_distribution(weights, parameters, n))
        x = jnp.asarray(handed(X), weights.dtype)
        return numpyro.sample("x", self.table_distribution(weights, parameters, len(x)), obs=x)

    def in_numbers(self, X: Any) -> Mixture:
        """Give the same specification with priors, in numbers: those that are not yet are taken from the rows X.

        Raises
        ------
        OptionError
            A prior that needs rows, and none to look at.
        """
        mixture = self.proper()
        if not isinstance(getattr(mixture.family, "prior", None), str):
            return mixture
        if X is None or isinstance(X, jax.core.Tracer):
            raise OptionError(
                "the prior takes its scale from the rows, which are not there to look at: pass a prior in numbers"
            )
        return mixture.build(rows(np.asarray(X)))


def handed(leaf: Any) -> Any:
    """Hand an array to JAX as an object of its own, see `data.rows.fresh`."""
    return jnp.asarray(fresh(leaf)) if isinstance(leaf, np.ndarray) else leaf
