"""The exact posterior of a tiny world: all labelings of a few rows, each with its conjugate evidence.

Written from Murphy, *Machine Learning* (2012), section 4.6.3, and its analogues for variances, from the rows
themselves: nothing of the library enters but the statement of the prior.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
from laws import linear
from scipy.special import gammaln, logsumexp, multigammaln
from scipy.stats import beta, gamma, invgamma, multivariate_t, norm
from scipy.stats import t as student

from bayessoft import IndependentNormalInverseWishart, NormalInverseWishart, StudentTPrior


@dataclass(frozen=True)
class World:
    """Rows, the number of clusters, what is known of them before, and the bounds of their counts, if any."""

    kind: str
    x: np.ndarray
    k: int
    alpha: float
    prior: Any
    points: np.ndarray
    counts: tuple[tuple[int, ...], tuple[int, ...]] | None = None

    def clusters(self, z: np.ndarray) -> list[tuple[float, np.ndarray, np.ndarray]]:
        """The posterior precision and mean of each cluster's mean, and what its rows add to the scale."""
        found = []
        for j in range(self.k):
            x, kappa, mean = self.x[z == j], self.prior.mean_precision, self.prior.mean
            after = (kappa * mean + x.sum(0)) / (kappa + len(x))
            scatter = x.T @ x + kappa * np.outer(mean, mean) - (kappa + len(x)) * np.outer(after, after)
            found.append((kappa + len(x), after, scatter))
        return found

    def spreads(self, z: np.ndarray) -> list[tuple[float, np.ndarray]]:
        """The posterior degrees of freedom and scale of each covariance there is."""
        nu, scale, d = self.prior.degrees_of_freedom, np.asarray(self.prior.scale), self.x.shape[1]
        counts, scatters = np.bincount(z, minlength=self.k), [s for _, _, s in self.clusters(z)]
        if self.kind == "tied":
            return [(nu + len(z), scale + sum(scatters))]
        if self.kind == "full":
            return [(nu + n, scale + s) for n, s in zip(counts, scatters, strict=True)]
        if self.kind == "diag":
            return [(nu + n, scale + np.diag(s)) for n, s in zip(counts, scatters, strict=True)]
        return [(nu + n * d, scale + np.trace(s)) for n, s in zip(counts, scatters, strict=True)]

    def log_evidence(self, z: np.ndarray) -> float:
        """Log density of rows with these labels, parameters integrated out."""
        n, d = self.x.shape
        order = d if self.kind in ("full", "tied") else 1

        def log_normaliser(nu: float, scale: np.ndarray) -> float:
            log_scale = np.linalg.slogdet(scale)[1] if order > 1 else np.log(scale)
            return float(np.sum(multigammaln(nu / 2, order) - nu / 2 * log_scale))

        before = log_normaliser(self.prior.degrees_of_freedom, np.asarray(self.prior.scale))
        spread = sum(log_normaliser(nu, scale) - before for nu, scale in self.spreads(z))
        means = sum(0.5 * d * np.log(self.prior.mean_precision / kappa) for kappa, _, _ in self.clusters(z))
        return spread + means - 0.5 * n * d * np.log(np.pi)

    def predictive(self, z: np.ndarray) -> np.ndarray:
        """Density of further rows at the points under each cluster: Student-t."""
        d, spreads, found = self.x.shape[1], self.spreads(z), []
        for j, (kappa, mean, _) in enumerate(self.clusters(z)):
            nu, scale = spreads[min(j, len(spreads) - 1)]
            wider = (kappa + 1) / kappa
            if self.kind in ("full", "tied"):
                density = multivariate_t(mean, scale * wider / (nu - d + 1), nu - d + 1).pdf(self.points)
            elif self.kind == "spherical":
                density = multivariate_t(mean, np.eye(d) * scale * wider / nu, nu).pdf(self.points)
            else:
                density = student(nu, mean, np.sqrt(scale * wider / nu)).pdf(self.points).prod(-1)
            found.append(density)
        return np.array(found)

    def allowed(self) -> np.ndarray:
        """Every labeling with counts inside the bounds."""
        every = np.array(list(product(range(self.k), repeat=len(self.x))))
        if self.counts is None:
            return every
        counts = (every[:, :, None] == np.arange(self.k)).sum(1)
        low, high = self.counts
        return every[((counts >= low) & (counts <= high)).all(1)]

    def labelings(self) -> tuple[np.ndarray, np.ndarray]:
        """Every allowed labeling, and the log joint density of rows and labels."""
        every = self.allowed()
        total = self.k * self.alpha
        logs = []
        for z in every:
            counts = np.bincount(z, minlength=self.k)
            shares = gammaln(self.alpha + counts) - gammaln(self.alpha)
            logs.append(shares.sum() + gammaln(total) - gammaln(total + len(z)) + self.log_evidence(z))
        return every, np.array(logs)

    def exact(self) -> dict[str, np.ndarray]:
        """Log evidence; co-clustering, the largest of two proportions, predictive density: free of labels."""
        every, logs = self.labelings()
        evidence = logsumexp(logs)
        p = np.exp(logs - evidence)
        upper = np.triu_indices(len(self.x), 1)
        together = np.einsum("z,znm->nm", p, every[:, :, None] == every[:, None, :])
        grid = np.linspace(0, 1, 20_001)[1:-1]
        larger, density = 0.0, np.zeros(len(self.points))
        for share, z in zip(p, every, strict=True):
            counts = self.alpha + np.bincount(z, minlength=self.k)
            if self.k == 2:
                weight = beta(*counts).pdf(grid)
                larger += share * (weight * np.maximum(grid, 1 - grid)).sum() / weight.sum()
            density += share * (counts / counts.sum()) @ self.predictive(z)
        found = {"together": together[upper], "density": density, "evidence": np.array([evidence])}
        return found | ({"larger": np.array([larger])} if self.k == 2 else {})


@dataclass(frozen=True)
class IndependentWorld(World):
    """The same for one column whose means are independent of their variances, by numerical integration.

    Given variances the means are integrated out in closed form; then, on even grids of logs, each variance, and a
    scale that the clusters share, if it is unknown.
    """

    def _given_scale(self, rows: np.ndarray) -> np.ndarray:
        """The density of rows in one cluster at each scale of the grid: means and variances integrated out."""
        n, nu, scales = len(rows), float(self.prior.degrees_of_freedom), np.exp(self._log_scales)
        logs = np.linspace(-12, 14, 521)
        v, b = np.exp(logs), float(self.prior.covariance[0, 0])
        away = rows[:, 0] - float(self.prior.mean[0])
        # Normal with covariance v I + b 1 1'
        squares = (away @ away - b * away.sum() ** 2 / (v + n * b)) / v
        density = -0.5 * (n * np.log(2 * np.pi) + (n - 1) * np.log(v) + np.log(v + n * b) + squares)
        prior = invgamma(nu / 2, scale=scales[:, None] / 2).logpdf(v)
        return np.exp(density + prior + logs).sum(1) * (logs[1] - logs[0])

    @property
    def _log_scales(self) -> np.ndarray:
        known = self.prior.scale_degrees_of_freedom is None
        return np.log(self.prior.scale[0]) if known else np.linspace(-16, 8, 241)

    @property
    def _masses(self) -> np.ndarray:
        """The prior probability of each scale of the grid."""
        if self.prior.scale_degrees_of_freedom is None:
            return np.ones(1)
        logs, g, mean = self._log_scales, self.prior.scale_degrees_of_freedom, self.prior.scale[0, 0]
        mass = np.exp(gamma(g / 2, scale=2 * mean / g).logpdf(np.exp(logs)) + logs)
        return mass / mass.sum()

    def log_evidence(self, z: np.ndarray) -> float:
        """Log density of rows with these labels, parameters integrated out."""
        return float(np.log(self._masses @ np.prod([self._given_scale(self.x[z == j]) for j in range(self.k)], 0)))

    def predictive(self, z: np.ndarray) -> np.ndarray:
        """Density of further rows at the points under each cluster."""
        own = [self._given_scale(self.x[z == j]) for j in range(self.k)]
        after = self._masses * np.prod(own, 0)
        after = after / after.sum()
        return np.array(
            [
                [after @ (self._given_scale(np.vstack([self.x[z == j], point])) / own[j]) for point in self.points]
                for j in range(self.k)
            ]
        )


def small_independent(unknown: bool) -> IndependentWorld:
    """Five numbers that two clusters share in doubt."""
    x = np.array([[0.0], [0.6], [1.4], [2.9], [3.3]])
    stated = (np.array([1.5]), np.array([[2.0]]), 5.0, np.array([[1.5]]))
    prior = IndependentNormalInverseWishart(*stated, 3.0 if unknown else None)
    return IndependentWorld("full", x, 2, 1.5, prior, np.array([[0.2], [1.8], [3.5]]))


X = np.array([[0.0, 0.3], [0.6, -0.4], [2.3, 1.9], [2.9, 2.6], [1.4, 0.8], [3.1, 1.7]])
# The last one lies outside the rows. Further out, at (5, -2), one draw in thousands makes up all of the mean (measured:
# a skewness of 60 to 160), and no standard error means anything.
POINTS = np.array([[0.2, 0.1], [1.5, 1.0], [3.0, 2.0], [4.0, 0.5]])
SCALES = {"full": np.array([[1.5, 0.3], [0.3, 1.0]]), "diag": np.array([1.5, 1.0]), "spherical": np.array(1.2)}
SCALES["tied"] = SCALES["full"]


def small(kind: str, counts: Any = None) -> World:
    """Six rows that two clusters share in doubt."""
    return World(kind, X, 2, 1.5, NormalInverseWishart(np.array([1.5, 1.0]), 0.5, 5.0, SCALES[kind]), POINTS, counts)


@dataclass(frozen=True)
class LinearWorld(World):
    """The same for a family with a linear score: a labeling's evidence is the chain of its clusters' predictions."""

    def log_evidence(self, z: np.ndarray) -> float:
        """Log density of rows with these labels, parameters integrated out."""
        total = 0.0
        for j in range(self.k):
            rows = self.x[z == j]
            for i, row in enumerate(rows):
                total += float(linear.predictive(self.kind, self._after(rows[:i]), row[None])[0])
        return total

    def predictive(self, z: np.ndarray) -> np.ndarray:
        """Density of further rows at the points under each cluster."""
        afters = [self._after(self.x[z == j]) for j in range(self.k)]
        return np.array([np.exp(linear.predictive(self.kind, after, self.points)) for after in afters])

    def _after(self, rows: np.ndarray) -> Any:
        return linear.updated(self.kind, self.prior, rows, np.ones((1, len(rows))))


@dataclass(frozen=True)
class ProductWorld(World):
    """The same for blocks of columns that are independent given the labels: their evidences multiply."""

    blocks: tuple[World, ...] = ()

    def log_evidence(self, z: np.ndarray) -> float:
        """Log density of rows with these labels, parameters integrated out."""
        return sum(block.log_evidence(z) for block in self.blocks)

    def predictive(self, z: np.ndarray) -> np.ndarray:
        """Density of further rows at the points under each cluster."""
        return np.prod([block.predictive(z) for block in self.blocks], 0)


def small_product() -> ProductWorld:
    """Six rows of measurements, counts and answers, each of which leaves two clusters in doubt."""
    counts = np.array([[2, 1, 1], [1, 2, 2], [3, 1, 0], [2, 3, 1], [1, 1, 2], [4, 2, 0]], float)
    counts, answers = replace(small_linear("poisson"), x=counts), small_linear("categorical")
    blocks = (small("full"), counts, replace(answers, x=answers.x[[0, 2, 1, 4, 3, 5]]))
    blocks = tuple(replace(block, points=block.x[[0, 3, 4]]) for block in blocks)  # amid the rows: see POINTS
    x = np.hstack([block.x for block in blocks])
    return ProductWorld("product", x, 2, 1.5, tuple(block.prior for block in blocks), x[[0, 3, 4]], blocks=blocks)


def small_linear(name: str) -> LinearWorld:
    """Six rows that two clusters share in doubt."""
    every = {
        "poisson": [[0, 1, 2], [1, 0, 3], [6, 2, 0], [8, 3, 1], [3, 1, 1], [7, 4, 0]],
        "bernoulli": [[0, 1, 1], [0, 1, 0], [1, 0, 0], [1, 0, 0], [0, 0, 1], [1, 0, 1]],
        "categorical": [[0, 1, 1], [0, 2, 0], [1, 0, 0], [1, 0, 0], [0, 0, 1], [1, 2, 1]],
        "multinomial": [[5, 1, 0], [3, 2, 0], [0, 1, 4], [1, 0, 4], [2, 2, 1], [0, 2, 3]],
    }
    x = np.array(every[name], float)
    further = linear.points(name, 3, seed=3) if name != "multinomial" else np.array([[4.0, 1, 0], [1, 1, 3], [0, 5, 0]])
    return LinearWorld(name, x, 2, 1.5, linear.under(name, "shared", 2).prior, further)


class StudentWorld(World):
    """The same for Student-t components of one column, with means, scales and degrees of freedom on a grid."""

    @cached_property
    def grid(self) -> tuple[np.ndarray, ...]:
        """Means, scales and degrees of freedom, and the log mass that the prior gives to each."""
        prior, shape, rate = self.prior.components, self.prior.shape, self.prior.rate
        ends, weights = np.polynomial.legendre.leggauss(24)
        nu = np.exp((ends + 1) / 2 * np.log(200))
        of_nu = gamma(shape, scale=1 / rate).logpdf(nu) + np.log(nu) + np.log(weights)
        log_variance, z = np.linspace(-4, 6, 81), np.linspace(-7, 7, 81)
        variance = np.exp(log_variance)
        of_variance = invgamma(prior.degrees_of_freedom / 2, scale=prior.scale / 2).logpdf(variance) + log_variance
        means = prior.mean + z[:, None] * np.sqrt(variance / prior.mean_precision)
        logs = (norm.logpdf(z)[:, None] + of_variance)[:, :, None] + of_nu
        return means[:, :, None], np.sqrt(variance)[:, None], nu, logs - logsumexp(logs)

    @cached_property
    def known(self) -> dict[bytes, tuple[float, np.ndarray]]:
        """What is found of a set of rows: its log evidence, and the density of further rows."""
        return {}

    def of_rows(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """Give the log evidence of rows of a cluster, and the density of further rows at the points."""
        if x.tobytes() not in self.known:
            means, scales, nu, logs = self.grid
            joint = logs + sum(student.logpdf(row, nu, means, scales) for row in x[:, 0])
            evidence = logsumexp(joint)
            mass = np.exp(joint - evidence)
            density = [np.sum(mass * student.pdf(point, nu, means, scales)) for point in self.points[:, 0]]
            self.known[x.tobytes()] = float(evidence), np.array(density)
        return self.known[x.tobytes()]

    def log_evidence(self, z: np.ndarray) -> float:
        """Log density of rows with these labels, parameters integrated out."""
        return sum(self.of_rows(self.x[z == j])[0] for j in range(self.k))

    def predictive(self, z: np.ndarray) -> np.ndarray:
        """Density of further rows at the points under each cluster."""
        return np.array([self.of_rows(self.x[z == j])[1] for j in range(self.k)])


def small_student() -> StudentWorld:
    """Five rows that two clusters share in doubt, one of them far out."""
    prior = StudentTPrior(NormalInverseWishart(np.array([1.0]), 0.5, 5.0, np.array([1.5])), 2.0, 0.2)
    x, points = np.array([[0.0], [0.5], [2.4], [3.0], [7.0]]), np.array([[0.2], [1.5], [4.0]])
    return StudentWorld("diag", x, 2, 1.5, prior, points)
