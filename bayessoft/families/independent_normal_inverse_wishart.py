"""Priors on the means and on the covariances of Gaussian components, independent of each other."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array, lax
from jax.scipy.special import multigammaln
from jaxtyping import Float

from bayessoft.data.rows import Rows
from bayessoft.errors import OptionError
from bayessoft.families import inverse_wishart
from bayessoft.families.covariance import Covariance, Moments, einsum
from bayessoft.families.family import Sample, pytree
from bayessoft.numerics import Affine

__all__ = ["IndependentNormalInverseWishart", "independent"]

ROUNDS = 400  # of the search for the mode, at most; two to some dozens, where clusters have rows
STILL = 100  # of them with the means held, at most
CLOSE = 16  # units of rounding by which a round changes what has settled


@pytree()
@dataclass(frozen=True, eq=False)
class IndependentNormalInverseWishart:
    r"""Independent priors: normal on the means, inverse Wishart on the covariances, one for all clusters or for each.

    For full covariances, :math:`\mu_k \sim N(b, B)` and :math:`\Sigma_k \mid \Psi \sim IW(\nu, \Psi)`, where
    :math:`\Psi` is either known or, with `scale_degrees_of_freedom`, a further unknown that the clusters share,
    :math:`\Psi \sim W(g, S/g)`, a Wishart matrix with mean S. Tied covariances are one draw of :math:`\Sigma`. Diagonal
    ones have :math:`\sigma^2_{kj} \sim IW_1(\nu, \Psi_j)`, an inverse gamma with shape :math:`\nu/2` and scale
    :math:`\Psi_j/2`, and :math:`\Psi_j \sim \mathrm{Gamma}(g/2, g/(2 S_j))`, in every column; spherical ones have a
    single such variance.

    Parameters
    ----------
    mean : array of shape (d,) or (k, d)
        Prior mean b of the cluster means, in the units of the rows.
    covariance : array
        B, their prior covariance, in squared units of the rows: (d, d) for full and tied covariances, variances (d,)
        for diagonal ones, a variance for spherical ones; with a leading k for one prior per cluster.
    degrees_of_freedom : float or array of shape (k,)
        :math:`\nu`; above d - 1 for full and tied covariances, above 0 otherwise. One number for tied covariances.
    scale : array
        :math:`\Psi` where it is known, else its prior mean S, in squared units of the rows and shaped as `covariance`;
        a leading k only where it is known, and never for tied covariances.
    scale_degrees_of_freedom : float, optional
        g; above d - 1 for full and tied covariances, above 0 otherwise. The smaller, the more the clusters tell how
        wide clusters are. None means that the scale is known.

    Notes
    -----
    Richardson and Green, J. Royal Statistical Society B 59 (1997), for one column; Stephens, *Bayesian Methods for
    Mixtures of Normal Distributions* (1997), and Frühwirth-Schnatter, *Finite Mixture and Markov Switching Models*
    (2006), section 6.3.2, for several: the hierarchical independence prior. Her :math:`c_0 = \nu/2`,
    :math:`C_0 = \Psi/2`, :math:`g_0 = g/2` and :math:`G_0 = g S^{-1}`.

    Densities are with respect to Lebesgue measure on the means and covariances, with an unknown scale integrated out:
    with m covariances, each of order o (d; 1 for variances, whose densities multiply over columns), and
    :math:`h = g + m \nu`,

    .. math::

        \log p(\Sigma) = \tfrac g2 \log |g S^{-1}| - \log \Gamma_o(\tfrac g2) + \log \Gamma_o(\tfrac h2)
        - \tfrac h2 \log \Big|g S^{-1} + \sum_k \Sigma_k^{-1}\Big|
        - \sum_k \Big(\tfrac{\nu + o + 1}2 \log |\Sigma_k| + \log \Gamma_o(\tfrac \nu2)\Big).

    There is no posterior in closed form, which CAVI, and SVI with its conjugate guide, need; other engines take it.

    Examples
    --------
    >>> import bayessoft as bs
    >>> X = np.random.default_rng(0).normal(size=(60, 1)) + np.repeat([0.0, 6.0], 30)[:, None]
    >>> prior = bs.IndependentNormalInverseWishart([3.0], [[9.0]], 4.0, [[2.0]], scale_degrees_of_freedom=1.0)
    >>> gm = bs.GaussianMixture(2, prior=prior, random_state=0).fit(X)
    >>> sorted(abs(gm.means_.round(0)).ravel().tolist())
    [0.0, 6.0]
    """

    mean: Any
    covariance: Any
    degrees_of_freedom: Any
    scale: Any
    scale_degrees_of_freedom: Any = None

    def checked(self, structure: Covariance, k: int, d: int) -> IndependentNormalInverseWishart:
        """Give the same prior as float64 arrays whose shapes and ranges are right.

        Raises
        ------
        OptionError
            A shape or a value that does not fit k clusters and d columns.
        """
        entry = structure.shape(k, d) if structure.tied else structure.shape(k, d)[1:]
        known, tied = self.scale_degrees_of_freedom is None, structure.tied
        if not known and np.shape(self.scale) == (k, *entry) != entry:
            raise OptionError(
                "prior.scale is one for each cluster, and scale_degrees_of_freedom makes it one that all share: pass "
                f"a scale of shape {entry}, or leave scale_degrees_of_freedom out"
            )
        allowed = {
            "mean": ((d,), (k, d)),
            "covariance": (entry, (k, *entry)),
            "degrees_of_freedom": ((),) if tied else ((), (k,)),
            "scale": (entry,) if tied or not known else (entry, (k, *entry)),
        }
        if not known:
            allowed["scale_degrees_of_freedom"] = ((),)
        values = inverse_wishart.checked_arrays(self, allowed, k, d)
        for name in ("degrees_of_freedom", "scale_degrees_of_freedom"):
            if name in values:
                inverse_wishart.above(name, values[name], d - 1 if structure.matrix else 0)
        for name in ("covariance", "scale"):
            inverse_wishart.positive_definite(name, values[name], structure)
        return IndependentNormalInverseWishart(**values)

    def standardised(self, structure: Covariance, frame: Affine) -> IndependentNormalInverseWishart:
        """Give the same prior for the parameters of mapped rows."""
        a = frame.inverse_matrix()
        mean = frame.apply(np.atleast_2d(self.mean)).reshape(self.mean.shape)
        covariance, scale = (structure.map_covariance(spread, a) for spread in (self.covariance, self.scale))
        return replace(self, mean=mean, covariance=covariance, scale=scale)

    def same(self, structure: Covariance, k: int) -> Any:
        """Tell which pairs of components, (k, k), have the same prior."""
        rank = len(structure.shape(k, 2)) - (0 if structure.tied else 1)
        fields = [(self.mean, 1), (self.covariance, rank)]
        if not structure.tied:
            fields += [(self.degrees_of_freedom, 0), (self.scale, rank)]
        return inverse_wishart.same_fields(fields, k)

    def log_density(self, structure: Covariance, means: Array, factors: Array) -> Array:
        """Log density of means (k, d) and of the covariances that the factors give, an unknown scale integrated out."""
        k, d = means.shape
        normal = self._normal(structure, k, d).log_prob(means)
        nu, scale = jnp.asarray(self.degrees_of_freedom), jnp.asarray(self.scale)
        if self.scale_degrees_of_freedom is None:
            return normal + inverse_wishart.log_density(structure, factors, d, nu, scale)
        order = inverse_wishart.order_of(structure, d)
        after, rate = self._seen(structure, factors)
        before = jnp.asarray(self.scale_degrees_of_freedom)
        logs = structure.log_det(factors, d) if structure.matrix else jnp.log(factors)  # minus half of the covariances'
        each = nu[:, None] if nu.ndim and logs.ndim == 2 else nu
        covariances = jnp.sum((each + order + 1) * logs - multigammaln(each / 2, order))
        shared = 0.5 * before * (order * jnp.log(before) - _log_det(structure, scale)) - multigammaln(before / 2, order)
        shared = shared + multigammaln(after / 2, order) - 0.5 * after * _log_det(structure, rate)
        return normal + covariances + jnp.sum(shared)

    def draw(self, structure: Covariance, sample: Sample, k: int) -> tuple[Array, Array]:
        """Draw means and factors through `sample`: the prior as a NumPyro model.

        An unknown scale is a site before them: ``scale_cholesky``, its lower triangular factor, or ``scale``.
        """
        d = jnp.shape(self.mean)[-1]
        scale, before = jnp.asarray(self.scale), self.scale_degrees_of_freedom
        if before is not None:
            scale = self._drawn_scale(structure, sample, jnp.asarray(before), self._rate(structure))
        factors = inverse_wishart.draw(structure, sample, k, d, jnp.asarray(self.degrees_of_freedom), scale)
        return sample("means", self._normal(structure, k, d)), factors

    def sites(self, structure: Covariance, means: Array, factors: Array) -> dict[str, Array]:
        """Give the sites of `draw` that make means and factors; an unknown scale is its mean given the covariances."""
        found = {"means": means, **inverse_wishart.site(structure, factors)}
        if self.scale_degrees_of_freedom is None:
            return found
        scale = self._scale_given(structure, factors)
        return found | ({"scale_cholesky": jnp.linalg.cholesky(scale)} if structure.matrix else {"scale": scale})

    def redraw(self, structure: Covariance, factors: Array, statistics: Moments, sample: Sample) -> tuple[Array, Array]:
        """Draw in turn an unknown scale given the covariances, the means given those, and the covariances given both.

        Richardson and Green (1997), appendix, and Frühwirth-Schnatter (2006), chapter 6.
        """
        k, d = statistics.first.shape
        scale = jnp.asarray(self.scale)
        if self.scale_degrees_of_freedom is not None:
            scale = self._drawn_scale(structure, sample, *self._seen(structure, factors))
        centre, precision = self._means_given(structure, factors, statistics)
        if structure.matrix:
            means = sample("means", dist.MultivariateNormal(centre, precision_matrix=precision).to_event(1))
        else:
            means = sample("means", dist.Normal(centre, 1 / jnp.sqrt(precision)).to_event(2))
        scatter = statistics.about(structure, means).second
        seen = structure.degrees(statistics.weight, d)
        nu = jnp.asarray(self.degrees_of_freedom) + (seen if structure.tied else seen.reshape(k))
        return means, inverse_wishart.draw(structure, sample, k, d, nu, scale + scatter)

    def mode(
        self, structure: Covariance, statistics: Moments, rows: Float[Array, " k"] | None = None
    ) -> tuple[Array, Array]:
        """Give the most probable means and factors after rows with these statistics, an unknown scale integrated out.

        Where a row weighs more or less than one, `rows` are how many there are.

        Notes
        -----
        Means given covariances, and covariances given means and scale, have their modes in closed form, and are taken
        in turn. For an unknown scale stands its mean given the covariances, which bounds the log density from below by
        a tangent (``-log |.|`` is convex), so that no round falls: an MM algorithm (Hunter and Lange, American
        Statistician 58 (2004)). It begins at the reference points, and with the means held: there the covariances have
        one mode, so that the density is not below that of any covariances with these means, the last ones of EM.
        """
        d = statistics.first.shape[1]
        seen = structure.degrees(statistics.weight if rows is None else rows, d)
        nu = jnp.asarray(self.degrees_of_freedom)
        nu = nu.reshape(seen.shape) if nu.ndim else nu
        degrees = nu + seen + inverse_wishart.order_of(structure, d) + 1

        def spread(scale: Array, means: Array) -> Array:
            return (scale + statistics.about(structure, means).second) / degrees

        def step(now: tuple[Array, Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array, Array]:
            means, covariance, moving, _, count = now
            factors = structure.factor(covariance)
            later = jnp.where(moving, self._means_given(structure, factors, statistics)[0], means)
            after = spread(self._scale_given(structure, factors), later)
            change = _change(structure, covariance, after, later - means)
            settled = ~(change > CLOSE * jnp.finfo(change.dtype).eps)  # true of NaN, too
            return later, after, moving | settled | (count >= STILL), moving & settled, count + 1

        means, no = statistics.reference, jnp.asarray(False)
        start = (means, spread(jnp.asarray(self.scale), means), no, no, jnp.zeros((), jnp.int32))
        means, covariance, *_ = lax.while_loop(lambda now: ~now[3] & (now[4] < ROUNDS), step, start)
        return means, structure.factor(covariance)

    def _normal(self, structure: Covariance, k: int, d: int) -> Any:
        """Distribution of the means."""
        mean = jnp.broadcast_to(jnp.asarray(self.mean), (k, d))
        if structure.matrix:
            covariance = jnp.broadcast_to(jnp.asarray(self.covariance), (k, d, d))
            return dist.MultivariateNormal(mean, covariance_matrix=covariance).to_event(1)
        return dist.Normal(mean, jnp.sqrt(_columns(structure, self.covariance, k, d))).to_event(2)

    def _means_given(self, structure: Covariance, factors: Array, statistics: Moments) -> tuple[Array, Array]:
        """Give the mean and the precision of the means given covariances; all their columns' where independent."""
        k, d = statistics.first.shape
        away, own = self.mean - statistics.reference, jnp.asarray(self.covariance)
        if structure.matrix:
            own, rows = _inverse(structure, own), jnp.broadcast_to(_precisions(structure, factors), (k, d, d))
            precision = own + statistics.weight[:, None, None] * rows
            pull = einsum("kab,kb->ka", jnp.broadcast_to(own, (k, d, d)), away)
            pull = pull + einsum("kab,kb->ka", rows, statistics.first)
            return statistics.reference + einsum("kab,kb->ka", _inverse(structure, precision), pull), precision
        own, rows = 1 / _columns(structure, own, k, d), _columns(structure, factors**2, k, d)
        precision = own + statistics.weight[:, None] * rows
        return statistics.reference + (own * away + rows * statistics.first) / precision, precision

    def _rate(self, structure: Covariance) -> Array:
        """Rate of an unknown scale before covariances are seen."""
        return jnp.asarray(self.scale_degrees_of_freedom) * _inverse(structure, jnp.asarray(self.scale))

    def _seen(self, structure: Covariance, factors: Array) -> tuple[Array, Array]:
        """Degrees of freedom and rate of an unknown scale given covariances."""
        nu, precisions = jnp.asarray(self.degrees_of_freedom), _precisions(structure, factors)
        if not structure.tied:
            nu, precisions = jnp.broadcast_to(nu, (len(factors),)).sum(), precisions.sum(0)
        return jnp.asarray(self.scale_degrees_of_freedom) + nu, self._rate(structure) + precisions

    def _scale_given(self, structure: Covariance, factors: Array) -> Array:
        """Give the scale or, where it is unknown, its mean given covariances."""
        if self.scale_degrees_of_freedom is None:
            return jnp.asarray(self.scale)
        degrees, rate = self._seen(structure, factors)
        return degrees * _inverse(structure, rate)

    @staticmethod
    def _drawn_scale(structure: Covariance, sample: Sample, degrees: Array, rate: Array) -> Array:
        """Draw a scale with so many degrees of freedom and a rate."""
        if not structure.matrix:
            gamma = dist.Gamma(jnp.broadcast_to(degrees / 2, rate.shape), rate / 2)
            return sample("scale", gamma.to_event(rate.ndim))
        lower = sample("scale_cholesky", dist.WishartCholesky(degrees, rate_matrix=rate))
        return einsum("ab,cb->ac", lower, lower)


def _precisions(structure: Covariance, factors: Array) -> Array:
    """Give the inverse covariances."""
    return einsum("...ab,...cb->...ac", factors, factors) if structure.matrix else factors**2


def _inverse(structure: Covariance, spread: Array) -> Array:
    """Give the inverses of what are covariances in shape."""
    return _precisions(structure, structure.factor(spread))


def _columns(structure: Covariance, variances: Any, k: int, d: int) -> Array:
    """Give variances, or numbers shaped as they are, one for each cluster and column."""
    variances = jnp.asarray(variances)
    return jnp.broadcast_to(variances if structure.columnwise else variances.reshape(-1, 1), (k, d))


def _log_det(structure: Covariance, scale: Array) -> Array:
    """Log determinant of a scale, or of the scale of each column."""
    return 2 * structure.log_det(jnp.linalg.cholesky(scale), len(scale)) if structure.matrix else jnp.log(scale)


def _change(structure: Covariance, before: Array, after: Array, step: Array) -> Array:
    """Give the largest change of covariances and means, in units of the standard deviations."""
    variances = jnp.diagonal(after, axis1=-2, axis2=-1) if structure.matrix else after
    widths = jnp.sqrt(jnp.abs(variances))
    units = widths[..., :, None] * widths[..., None, :] if structure.matrix else variances
    moved = jnp.abs(step) / (widths if structure.matrix or structure.columnwise else widths[:, None])
    return jnp.maximum(jnp.max(jnp.abs(after - before) / units), moved.max())


def independent(structure: Covariance, rows: Rows) -> IndependentNormalInverseWishart:
    r"""Give a prior that says little, of the middle and the range of each column.

    After Richardson and Green (1997) and Frühwirth-Schnatter (2006), section 6.3.2: means about the middle of the rows
    with the range R as standard deviation, :math:`c_0 = 2.5 + (o - 1)/2`, :math:`g_0 = 0.5 + (o - 1)/2` and
    :math:`G_0 = (100 g_0 / c_0) \mathrm{diag}(1/R^2)`, so that clusters are about a tenth of the range wide. The order
    o is d, or 1 for variances. A constant column counts as one with a range of 1.
    """
    values = rows.values[rows.weights > 0]
    low, high = values.min(axis=0).astype(np.float64), values.max(axis=0).astype(np.float64)
    spread = structure.reduced(np.diag((high - low) ** 2))
    spread = spread + (np.diag(high == low) if structure.matrix else spread == 0)
    order = inverse_wishart.order_of(structure, rows.d)
    nu = order + 4.0
    return IndependentNormalInverseWishart(low + (high - low) / 2, spread, nu, nu / 100 * spread, float(order))
