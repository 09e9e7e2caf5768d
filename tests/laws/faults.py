"""Faults planted into shipped code: a law counts when it catches them.

A fault names a law test, and an attribute of a module or class of the library with a mutation of it. The runner of
`test_faults` applies the mutation and runs that very test, which has to fail.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .student_t import STUDENT
from .worlds import MEMBERS

FULL, TIED, DIAG, SPHERICAL = MEMBERS


@dataclass(frozen=True)
class Fault:
    """A mutation that a law has to catch.

    Attributes
    ----------
    law, test : str
        The law, also the name of its module after ``test_``, and the function in it that is to fail.
    arguments : dict
        What the function is called with.
    target : str
        ``module:attribute`` or ``module:Class.attribute``, without the leading "bayessoft.".
    what : str
        The fault in words.
    mutate : callable
        Gives the faulty attribute for the shipped one.
    """

    law: str
    test: str
    arguments: dict[str, Any]
    target: str
    what: str
    mutate: Callable[[Any], Any]

    def __str__(self) -> str:
        """Name it in the id of a test."""
        return f"{self.law}: {self.target}: {self.what}"

    def run_law(self) -> None:
        """Run the law's own test."""
        getattr(import_module(f".test_{self.law}", __package__), self.test)(**self.arguments)


@contextmanager
def planted(fault: Fault) -> Iterator[None]:
    """Apply a fault; a function is replaced wherever a module of the library holds it under its name."""
    module_name, _, path = fault.target.partition(":")
    module = import_module(f"bayessoft.{module_name}")
    *inside, name = path.split(".")
    holder = getattr(module, inside[0]) if inside else module
    original = vars(holder)[name]
    holders = [holder]
    if not inside:
        ours = [m for key, m in list(sys.modules.items()) if key.partition(".")[0] == "bayessoft"]
        holders = [m for m in ours if vars(m).get(name) is original]
    faulty = fault.mutate(original)
    jax.clear_caches()  # what was compiled before does not see the fault
    try:
        for each in holders:
            setattr(each, name, faulty)
        yield
    finally:
        for each in holders:
            setattr(each, name, original)
        jax.clear_caches()


def adding(extra: Callable[..., Any]) -> Callable[[Any], Any]:
    """Add something to what a function gives."""
    return lambda original: lambda *args: original(*args) + extra(*args)


def taking(change: Callable[..., tuple]) -> Callable[[Any], Any]:
    """Change the arguments of a function."""
    return lambda original: lambda *args: original(*change(*args))


def forgetful_about(original: Any) -> Any:
    def about(self: Any, structure: Any, points: Any) -> Any:
        second = self.second - 2 * structure.outer(self.first, points - self.reference)
        return replace(original(self, structure, points), second=second)

    return about


def without_last_tile(original: Any) -> Any:
    def over_tiles(tile: Any, rows: Any, *more: Any, **options: Any) -> Any:
        fewer = jax.tree.map(lambda a: a[:-1], more)
        return original(tile, replace(rows, x=rows.x[:-1], w=rows.w[:-1]), *fewer, **options)

    return over_tiles


def heavy_filling(original: Any) -> Any:
    def tiles(*args: Any) -> Any:
        rows = original(*args)
        return replace(rows, w=jnp.where(rows.w == 0, 1.0, rows.w))

    return tiles


def with_prior_field(name: str, change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Run a method of a family under a prior with one field changed."""

    def mutate(original: Any) -> Any:
        def method(self: Any, *args: Any) -> Any:
            prior = replace(self.prior, **{name: change(getattr(self.prior, name))})
            return original(replace(self, prior=prior), *args)

        return method

    return mutate


def moving_reference(original: Any) -> Any:
    def collect(self: Any, parameters: Any, total: Any, fast: bool) -> Any:
        return replace(original(self, parameters, total, fast), reference=parameters.means)

    return collect


def heavy_statistics(original: Any) -> Any:
    def sweep(*args: Any) -> Any:
        value, statistics = original(*args)
        return value, replace(statistics, weight=1.01 * statistics.weight)

    return sweep


def unweighted(original: Any) -> Any:
    return lambda scores, log_weights, *rest, **more: original(scores, 0 * log_weights, *rest, **more)


def peaked(original: Any) -> Any:
    def assign(scores: Any, log_weights: Any, *rest: Any, **more: Any) -> Any:
        _, r = original(scores, log_weights, *rest, **more)
        return (scores + log_weights[:, None]).max(0), r

    return assign


def tilted(original: Any) -> Any:
    def assign(scores: Any, log_weights: Any, *rest: Any, **more: Any) -> Any:
        return original(scores, log_weights + 1e-3 * jnp.arange(len(log_weights)), *rest, **more)

    return assign


def priceless(original: Any) -> Any:
    return lambda scores, log_weights, prices=None, beside=None: original(scores, log_weights, None, beside)


def first_row_heavier(original: Any) -> Any:
    def over_tiles(tile: Any, rows: Any, *more: Any, **options: Any) -> Any:
        return original(tile, replace(rows, w=rows.w.at[0, 0].multiply(2.0)), *more, **options)

    return over_tiles


def loose(original: Any) -> Any:
    return lambda *args: (replace(original(*args)[0], prices=jnp.zeros(3)), original(*args)[1])


def half_log_two_pi(self: Any, parameters: Any, features: Any, fast: bool) -> Any:
    return 0.5 * parameters.means.shape[1] * jnp.log(2 * jnp.pi)


def undrawn(original: Any) -> Any:
    def update(self: Any, structure: Any, statistics: Any) -> Any:
        posterior = original(self, structure, statistics)
        return replace(posterior, scale=self.scale + statistics.about(structure, posterior.mean).second)

    return update


def adding_selves(original: Any) -> Any:
    def pairs(one: Any, other: Any) -> Any:
        alone, alike = (one.values**2).sum(1), (other.values**2).sum(1)
        selves = (alone * alike).sum(), alone.sum(), alike.sum(), one.n
        return tuple(a + b for a, b in zip(original(one, other), selves, strict=True))

    return pairs


def without_spread(original: Any) -> Any:
    def moment_matched(parts: Any, groups: Any) -> Any:
        return original(parts._replace(means=original(parts, groups).means[:, groups]), groups)

    return moment_matched


def of_weight_one(original: Any) -> Any:
    return lambda first, *rest: original(first._replace(weights=jnp.ones_like(first.weights)), *rest)


def unnormalised_components(original: Any) -> Any:
    def components(weights: Any, means: Any, *rest: Any) -> Any:
        found = original(weights, means, *rest)
        return replace(found, constants=found.constants + 0.5 * means.shape[1] * np.log(2 * np.pi))

    return components


GAUSSIAN, COVARIANCE, PRIOR = "families.gaussian", "families.structures", "families.normal_inverse_wishart"
SHARED = {"member": FULL, "prior": "shared"}

FAULTS = (
    Fault(
        "additive",
        "test_statistics_of_parts_about_different_points_add_up",
        {"member": FULL, "fast": False},
        f"{GAUSSIAN}:Moments.about",
        "re-basing forgets the step's own square",
        forgetful_about,
    ),
    Fault(
        "additive",
        "test_the_size_of_tiles_changes_nothing",
        {"member": DIAG, "offset": 0.0},
        "core.sweep:over_tiles",
        "the last tile is lost",
        without_last_tile,
    ),
    Fault(
        "additive",
        "test_the_size_of_tiles_changes_nothing",
        {"member": DIAG, "offset": 0.0},
        "core.sweep:tiles",
        "filling has weight 1",
        heavy_filling,
    ),
    Fault(
        "bayes_rule",
        "test_prior_times_likelihood_over_posterior_is_constant",
        SHARED,
        f"{PRIOR}:NormalInverseWishart.log_density",
        "the scale counts 10 % more",
        taking(lambda self, *rest: (replace(self, scale=1.1 * self.scale), *rest)),
    ),
    Fault(
        "bayes_rule",
        "test_prior_times_likelihood_over_posterior_is_constant",
        {"member": TIED, "prior": "each"},
        f"{GAUSSIAN}:Gaussian.statistics_log_density",
        "the normaliser counts 10 % more rows",
        taking(lambda self, theta, s: (self, theta, replace(s, weight=1.1 * s.weight))),
    ),
    Fault(
        "bayes_rule",
        "test_prior_times_likelihood_over_posterior_is_constant",
        {"member": SPHERICAL, "prior": "shared"},
        f"{COVARIANCE}:Spherical.log_det",
        "one dimension of them all",
        lambda original: lambda self, factor, d: original(self, factor, 1),
    ),
    Fault(
        "bayes_rule",
        "test_an_update_is_the_posterior",
        {"member": TIED, "prior": "shared"},
        f"{PRIOR}:NormalInverseWishart.update",
        "what the means are drawn by left out",
        undrawn,
    ),
    Fault(
        "bayes_rule",
        "test_the_expected_rule_is_the_same_number",
        {"member": DIAG, "prior": "each"},
        f"{PRIOR}:NormalInverseWishart.divergence",
        "the ratio of the constants upside down",
        lambda original: lambda self, structure, other: original(other, structure, self),
    ),
    Fault(
        "bayes_rule",
        "test_proportions_follow_bayes_rule",
        {},
        "families.weights:Dirichlet.update",
        "the prior forgotten",
        lambda original: lambda self, weight: replace(self, concentration=weight + 1.0),
    ),
    Fault(
        "evidence",
        "test_one_cluster",
        {"member": SPHERICAL, "prior": "shared"},
        f"{PRIOR}:NormalInverseWishart.expected",
        "the means taken for certain",
        lambda original: (
            lambda self, structure: (
                *original(self, structure)[:2],
                original(self, structure)[2] + 0.5 * self.mean.shape[1] / self.mean_precision,
            )
        ),
    ),
    Fault(
        "evidence",
        "test_predictive_densities_are_scipys",
        {"member": FULL},
        f"{PRIOR}:NormalInverseWishart.predictive",
        "degrees of freedom not lowered by the columns",
        lambda original: (
            lambda self, structure: (
                *original(self, structure)[:2],
                self.degrees_of_freedom,
                original(self, structure)[3],
            )
        ),
    ),
    Fault(
        "evidence",
        "test_predictive_densities_are_scipys",
        {"member": DIAG},
        f"{GAUSSIAN}:Gaussian.tile_predictive",
        "half a nat more",
        adding(lambda self, k, x: 0.5),
    ),
    Fault(
        "evidence",
        "test_the_bound_is_the_mean_it_states",
        {"member": FULL},
        "families.weights:Dirichlet.divergence",
        "proportions taken for known",
        lambda original: lambda self, other: 0.0,
    ),
    Fault(
        "evidence",
        "test_a_guide_is_near_to_what_is_all_but_normal",
        {"guide": "AutoDiagonalNormal"},
        "inference.guided:Tiles",
        "a batch stands for itself alone",
        lambda original: lambda x, w, radius, beside=None: original(x, w / w.max(), radius, beside),
    ),
    Fault(
        "evidence",
        "test_a_guide_is_near_to_what_is_all_but_normal",
        {"guide": "AutoDiagonalNormal"},
        "inference.guided:log_density",
        "half a nat more",
        lambda original: lambda *rest: (original(*rest)[0] + 0.5, None),
    ),
    Fault(
        "symmetry",
        "test_tiling_changes_no_label",
        {"member": DIAG, "repeated": False},
        "core.sweep:over_tiles",
        "places counted anew in each tile",
        lambda original: (
            lambda tile, rows, *more: original(
                tile, rows, *jax.tree.map(lambda a: jnp.broadcast_to(a[:1], a.shape), more)
            )
        ),
    ),
    Fault(
        "tiny_worlds",
        "test_labels_follow_their_probabilities",
        {"repeated": False},
        "core.allocate:_one_hot",
        "the likeliest label in the place of a drawn one",
        lambda original: lambda u, r: (jnp.arange(len(r))[:, None] == r.argmax(0)).astype(r.dtype),
    ),
    Fault(
        "tiny_worlds",
        "test_labels_follow_their_probabilities",
        {"repeated": True},
        "core.allocate:_multinomial",
        "one label times the weight",
        lambda original: lambda keys, r, w: original(keys, r, jnp.ones_like(w)) * w,
    ),
    Fault(
        "mode",
        "test_the_posterior_is_flat_at_its_mode",
        SHARED,
        f"{GAUSSIAN}:Gaussian.mode",
        "a degree of freedom less",
        with_prior_field("degrees_of_freedom", lambda nu: nu - 1),
    ),
    Fault(
        "mode",
        "test_the_posterior_is_flat_at_its_mode",
        {"member": DIAG, "prior": "each"},
        f"{PRIOR}:NormalInverseWishart.log_density",
        "a power of the determinant more",
        adding(lambda self, structure, means, factors: structure.log_det(factors, means.shape[1]).sum()),
    ),
    Fault(
        "mode",
        "test_the_posterior_is_flat_at_its_mode",
        {"member": SPHERICAL, "prior": "none"},
        f"{COVARIANCE}:Spherical.degrees",
        "rows counted, not cells",
        lambda original: lambda self, weight, d: weight,
    ),
    Fault(
        "mode",
        "test_the_posterior_is_flat_at_its_mode",
        SHARED,
        "families.weights:Dirichlet.mode",
        "the posterior mean in the place of its mode",
        lambda original: (
            lambda self, weight: (weight + self.concentration) / jnp.sum(weight + jnp.asarray(self.concentration))
        ),
    ),
    Fault(
        "fast_is_plain",
        "test_scores_are_log_densities",
        {"member": FULL, "fast": False, "d": 2},
        f"{COVARIANCE}:Full.centred_features",
        "the factor transposed",
        taking(lambda self, factor, means, x: (self, jnp.swapaxes(factor, 1, 2), means, x)),
    ),
    Fault(
        "fast_is_plain",
        "test_scores_are_log_densities",
        {"member": FULL, "fast": True, "d": 5},
        f"{COVARIANCE}:_pairs",
        "products of those half way round left out",
        lambda original: lambda z: original(z).at[-len(z) :].set(0.0),
    ),
    Fault(
        "fast_is_plain",
        "test_single_precision_far_from_the_origin",
        {"member": FULL},
        f"{COVARIANCE}:_middle",
        "the origin in the place of the middle",
        lambda original: lambda means: jnp.zeros_like(original(means)),
    ),
    Fault(
        "fast_is_plain",
        "test_both_forms_of_the_statistics_agree",
        {"member": FULL, "d": 2},
        f"{COVARIANCE}:_pair_sums",
        "each pair taken for the one behind it",
        lambda original: lambda sums, e: jnp.roll(original(sums, e), 1, -1),
    ),
    Fault(
        "fast_is_plain",
        "test_scores_are_log_densities",
        {"member": TIED, "fast": True, "d": 2},
        f"{GAUSSIAN}:Gaussian.tile_log_density",
        "a constant dropped",
        adding(half_log_two_pi),
    ),
    Fault(
        "derivative",
        "test_gradient_and_hessian_are_autodiffs",
        {"member": DIAG},
        f"{GAUSSIAN}:Gaussian.collect",
        "the reference point moves in one place of two",
        moving_reference,
    ),
    Fault(
        "derivative",
        "test_gradient_and_hessian_are_autodiffs",
        {"member": DIAG},
        "core.sweep:sweep",
        "1 % too much weight in the statistics",
        heavy_statistics,
    ),
    Fault(
        "equivariance",
        "test_the_fit_of_mapped_rows_is_the_mapped_fit",
        {"member": SPHERICAL, "prior": "none"},
        f"{COVARIANCE}:Spherical.group",
        "columns scaled one by one, no symmetry of this model",
        lambda original: "columns",
    ),
    Fault(
        "equivariance",
        "test_the_fit_of_mapped_rows_is_the_mapped_fit",
        {"member": FULL, "prior": "shared"},
        f"{PRIOR}:NormalInverseWishart.standardised",
        "the prior mean keeps its units",
        lambda original: lambda self, *args: replace(original(self, *args), mean=self.mean),
    ),
    Fault(
        "equivariance",
        "test_the_fit_of_mapped_rows_is_the_mapped_fit",
        {"member": FULL, "prior": "none"},
        f"{COVARIANCE}:Matrices.map_covariance",
        "the map transposed",
        taking(lambda self, covariance, a: (self, covariance, a.T)),
    ),
    Fault(
        "density",
        "test_score_samples_integrates_to_one",
        {"kind": "diag", "d": 1, "prior": None},
        "numerics:Affine.log_det",
        "the volume of the standardising map forgotten",
        lambda original: property(lambda self: 0.0),
    ),
    Fault(
        "density",
        "test_the_prior_on_a_component_integrates_to_one",
        {"member": FULL},
        f"{PRIOR}:NormalInverseWishart.log_density",
        "a constant dropped",
        adding(lambda self, structure, means, factors: 0.5 * np.log(2)),
    ),
    Fault(
        "density",
        "test_the_prior_on_proportions_integrates_to_one",
        {},
        "families.weights:Dirichlet.log_density",
        "the normaliser dropped",
        lambda original: lambda self, weights: jnp.sum((jnp.asarray(self.concentration) - 1) * jnp.log(weights)),
    ),
    Fault(
        "density",
        "test_what_a_prior_draws_has_its_density",
        {"member": FULL, "prior": "each"},
        f"{PRIOR}:NormalInverseWishart.draw",
        "drawn with a degree of freedom more",
        taking(lambda self, *rest: (replace(self, degrees_of_freedom=self.degrees_of_freedom + 1), *rest)),
    ),
    Fault(
        "tiny_worlds",
        "test_likelihood_and_memberships_by_enumeration",
        {"member": FULL},
        "core.assign:assign",
        "proportions left out",
        unweighted,
    ),
    Fault(
        "tiny_worlds",
        "test_likelihood_and_memberships_by_enumeration",
        {"member": TIED},
        "core.assign:assign",
        "the largest term in the place of their sum",
        peaked,
    ),
    Fault(
        "symmetry",
        "test_relabelling_permutes_the_statistics",
        {"member": DIAG},
        "core.assign:assign",
        "later clusters favoured a little",
        tilted,
    ),
    Fault(
        "symmetry",
        "test_the_order_of_rows_changes_nothing",
        {"member": DIAG},
        "core.sweep:over_tiles",
        "the first row counts twice",
        first_row_heavier,
    ),
    Fault(
        "sizes",
        "test_memberships_are_those_of_proportional_fitting",
        {},
        "core.dual:solve",
        "prices of 0 given",
        loose,
    ),
    Fault(
        "sizes",
        "test_prices_meet_their_sizes_unseen",
        {"name": "fixed", "dtype": "float64"},
        "core.dual:_foreseen",
        "the remainder forgotten",
        lambda original: lambda bounds, total, *rest: original(bounds, 0.0, *rest),
    ),
    Fault(
        "derivative",
        "test_gradient_and_hessian_are_autodiffs",
        {"member": FULL},
        f"{GAUSSIAN}:Gaussian.tile_statistics",
        "each component's own coordinates move with it",
        lambda original: (
            lambda self, parameters, features, r, fast: (
                self.structure.product_sums(features, r) if fast else self.structure.centred_sums(features, r)
            )
        ),
    ),
    Fault(
        "sizes",
        "test_prices_have_the_signs_of_their_bounds",
        {"low": [-54, 4, -54], "high": [-1, 54, 54]},
        "core.dual:Bounds.linear",
        "the high bound priced as the low one",
        lambda original: lambda self, prices: jnp.sum(prices * self.low),
    ),
    Fault(
        "sizes",
        "test_a_fit_keeps_its_constraint",
        {"member": FULL, "name": "fixed"},
        "core.dual:centred",
        "prices left without their convention",
        lambda original: lambda bounds, dual: dual.prices + 1,
    ),
    Fault(
        "sizes",
        "test_one_more_unit_of_size_is_worth_minus_its_price",
        {},
        "core.assign:assign",
        "prices ignored",
        priceless,
    ),
    Fault(
        "sizes",
        "test_one_more_unit_of_size_is_worth_minus_its_price",
        {},
        "core.dual:centred",
        "a price with the wrong sign",
        lambda original: lambda bounds, dual: -original(bounds, dual),
    ),
    Fault(
        "sizes",
        "test_the_gap_is_no_smaller_than_what_is_lost",
        {"name": "fixed"},
        "core.dual:Bounds.nearest",
        "the gap at a point that is not allowed",
        lambda original: lambda self, sizes: sizes,
    ),
    Fault(
        "sizes",
        "test_cavi_keeps_its_constraint",
        {},
        "inference.cavi:_bound",
        "memberships without prices",
        lambda original: lambda *args: (*original(*args[:3], None, None)[:2], args[4], True),
    ),
    Fault(
        "capacities",
        "test_one_more_unit_of_a_capacity_is_worth_minus_its_price",
        {},
        "core.dual:centred",
        "a price with the wrong sign",
        lambda original: lambda bounds, dual: -original(bounds, dual),
    ),
    Fault(
        "capacities",
        "test_prices_bring_all_amounts_into_their_bounds",
        {"name": "two"},
        "core.assign:assign",
        "each resource at the price of another",
        lambda original: (
            lambda scores, logs, prices=None, beside=None: original(
                scores, logs, None if prices is None else prices[::-1], beside
            )
        ),
    ),
    Fault(
        "capacities",
        "test_the_gap_is_no_smaller_than_what_is_lost",
        {"name": "two"},
        "core.certificate:_corrected",
        "the gap at a point that is not allowed",
        lambda original: lambda *_: (lambda r, beside: r, jnp.asarray(True)),
    ),
    Fault(
        "capacities",
        "test_pivots_end_where_the_model_is_smallest",
        {"seed": 0},
        "core.pivots:PATIENCE",
        "circles never left",
        lambda original: 1 << 20,
    ),
    Fault(
        "tiny_worlds",
        "test_labels_under_counts_follow_their_probabilities",
        {"name": "fixed"},
        "core.rearrange:_in_pairs",
        "a swap with the wrong ratio",
        lambda original: lambda logits, *rest: original(0.5 * logits, *rest),
    ),
    Fault(
        "tiny_worlds",
        "test_labels_under_counts_follow_their_probabilities",
        {"name": "between"},
        "core.rearrange:_in_blocks",
        "a row more than allowed",
        lambda original: lambda logits, labels, w, low, high, key: original(logits, labels, w, low, high + 1, key),
    ),
    Fault(
        "tiny_worlds",
        "test_labels_under_counts_follow_their_probabilities",
        {"name": "between"},
        "core.rearrange:_in_blocks",
        "proportions of the clusters weighed twice",
        lambda original: lambda logits, *rest: original(2 * logits, *rest),
    ),
    Fault(
        "tiny_worlds",
        "test_labels_under_counts_follow_their_probabilities",
        {"name": "fixed"},
        "core.rearrange:_labelled",
        "statistics of the labels before",
        lambda original: lambda f, p, rows, labels, *rest: original(f, p, rows, jnp.roll(labels, 1), *rest),
    ),
)
FAULTS += (
    Fault(
        "soft_clustering",
        "test_soft_k_means_is_the_spherical_mixture_of_equal_weights",
        {},
        "families.radial:Radial.tile_log_density",
        "a temperature beside the variance",
        lambda original: (
            lambda self, parameters, *rest: original(self, replace(parameters, beta=2 * parameters.beta), *rest)
        ),
    ),
    Fault(
        "soft_clustering",
        "test_radial_densities_integrate_to_one",
        {"metric": "euclidean", "d": 2},
        "families.radial:Radial._log_normaliser",
        "the normaliser of another number of columns",
        lambda original: lambda self, beta, d: original(self, beta, d + 1),
    ),
    Fault(
        "soft_clustering",
        "test_the_likelihood_of_soft_k_means_never_falls",
        {"metric": "euclidean", "beta": 2.0},
        "families.radial:Radial.mode",
        "a step of Weiszfeld too far",
        lambda original: (
            lambda self, statistics, floor: original(self, replace(statistics, first=4 * statistics.first), floor)
        ),
    ),
    Fault(
        "soft_clustering",
        "test_centres_part_at_the_critical_inverse_temperature",
        {"metric": "sqeuclidean"},
        "families.radial:Radial.critical",
        "twice the critical value",
        lambda original: lambda *args: 2 * original(*args),
    ),
    Fault(
        "soft_clustering",
        "test_nothing_near_is_better_than_fuzzy_c_means",
        {"name": "standard"},
        "core.fuzzy:FuzzyModel.assign",
        "memberships not to the power of m",
        lambda original: lambda self, square: (lambda r, _, loss: (r, r, loss))(*original(self, square)),
    ),
    Fault(
        "soft_clustering",
        "test_nothing_near_is_better_than_fuzzy_c_means",
        {"name": "noise"},
        "core.fuzzy:FuzzyModel.assign",
        "noise forgotten",
        lambda original: lambda self, square: original(replace(self, variant="standard"), square),
    ),
    Fault(
        "soft_clustering",
        "test_the_objective_of_fuzzy_c_means_never_rises",
        {"name": "gustafson-kessel"},
        "core.fuzzy:best_centres",
        "shapes of any volume",
        lambda original: (
            lambda model, moments: (
                lambda found: replace(found, factors=found.factors * jnp.arange(1, 4)[:, None, None])
            )(original(model, moments))
        ),
    ),
    Fault(
        "soft_clustering",
        "test_a_temperature_softens_memberships_and_nothing_falls",
        {"kind": "spherical"},
        "families.tempered:Tempered.members",
        "proportions by tempered counts",
        lambda original: lambda self, statistics: statistics.weight,
    ),
    Fault(
        "soft_clustering",
        "test_a_temperature_softens_memberships_and_nothing_falls",
        {"kind": "spherical"},
        "families.tempered:Tempered.tile_statistics",
        "the prior at another temperature than the rows",
        lambda original: lambda self, *args: self.family.tile_statistics(*args),
    ),
)


def at_centre(self: Any, statistics: Any, floor: Any) -> Any:
    """The posterior mean in the place of the mode."""
    return self.update(statistics).centre(len(statistics.weight))


def without_constant(original: Any) -> Any:
    return lambda self, theta: (original(self, theta)[0], 0 * original(self, theta)[1])


def louder(original: Any) -> Any:
    """Natural parameters 1 % too large."""
    return lambda self, theta: (1.01 * original(self, theta)[0], original(self, theta)[1])


def forgotten(original: Any) -> Any:
    """The prior forgotten by the update: half of it is kept."""

    def update(self: Any, statistics: Any) -> Any:
        posterior = original(self, statistics)
        return posterior.with_prior(jax.tree.map(lambda after, before: after - before / 2, posterior.prior, self.prior))

    return update


NAMES = {"poisson": "Poisson", "bernoulli": "Bernoulli", "categorical": "Categorical", "multinomial": "Multinomial"}
FAULTS += tuple(
    fault
    for name, kind in NAMES.items()
    for fault in (
        Fault(
            "fast_is_plain",
            "test_linear_scores_are_log_densities",
            {"name": name},
            f"families.{name}:{kind}.natural",
            "natural parameters 1 % too large",
            louder,
        ),
        Fault(
            "bayes_rule",
            "test_linear_families_follow_bayes_rule",
            {"name": name, "prior": "shared"},
            f"families.{name}:{kind}.update",
            "half of the prior forgotten",
            forgotten,
        ),
        Fault(
            "mode",
            "test_linear_posteriors_are_flat_at_their_modes",
            {"name": name, "prior": "each"},
            f"families.{name}:{kind}.mode",
            "the posterior mean in the place of its mode",
            lambda original: at_centre,
        ),
        Fault(
            "evidence",
            "test_one_cluster_of_a_linear_family",
            {"name": name, "prior": "shared"},
            f"families.{name}:{kind}.expected",
            "the posterior taken for certain at its centre",
            lambda original: lambda self, k: (self.centre(k), 0 * original(self, k)[1]),
        ),
    )
)
FAULTS += (
    Fault(
        "fast_is_plain",
        "test_linear_scores_are_log_densities",
        {"name": "poisson"},
        "families.poisson:Poisson.natural",
        "the normaliser dropped",
        without_constant,
    ),
    Fault(
        "density",
        "test_linear_densities_sum_to_one",
        {"name": "multinomial", "inference": "cavi"},
        "families.multinomial:Multinomial.log_base",
        "the ways to order a row not counted",
        lambda original: lambda self, x, gammaln: 0 * original(self, x, gammaln),
    ),
    Fault(
        "evidence",
        "test_predictive_densities_of_linear_families_are_scipys",
        {"name": "poisson"},
        "families.poisson:Poisson.tile_predictive",
        "a tenth of a nat more",
        adding(lambda self, k, x: 0.1),
    ),
    Fault(
        "additive",
        "test_linear_sweeps_over_parts_add_up",
        {"name": "categorical"},
        "families.linear:LinearFamily.tile_statistics",
        "rows weighed equally",
        taking(lambda self, theta, features, r, fast: (self, theta, features, r / r.sum(0), fast)),
    ),
    Fault(
        "derivative",
        "test_linear_gradients_and_hessians_are_autodiffs",
        {"name": "poisson"},
        "families.linear:LinearFamily.statistics_log_density",
        "the normaliser counts 1 % more rows",
        taking(lambda self, theta, s: (self, theta, replace(s, weight=1.01 * s.weight))),
    ),
    Fault(
        "symmetry",
        "test_linear_families_forget_the_order_of_clusters_rows_and_tiles",
        {"name": "bernoulli"},
        "families.linear:LinearFamily.parted",
        "the first row of a tile laid out twice",
        lambda original: (
            lambda self, x: (jnp.concatenate([original(self, x)[0][:, :1]] * 2 + [x[:, 2:]], 1), original(self, x)[1])
        ),
    ),
)

INDEPENDENT = "families.independent_normal_inverse_wishart"
OWN = f"{INDEPENDENT}:IndependentNormalInverseWishart"


def one_more(original: Any) -> Any:
    """A degree of freedom more than the scale has given covariances."""

    def seen(self: Any, structure: Any, factors: Any) -> Any:
        degrees, rate = original(self, structure, factors)
        return degrees + 1, rate

    return seen


FAULTS += (
    Fault(
        "bayes_rule",
        "test_independent_priors_are_scipys",
        {"member": FULL, "prior": "unknown"},
        f"{OWN}.log_density",
        "the prior on the scale without its constant",
        adding(lambda self, structure, means, factors: 0.5 * self.scale_degrees_of_freedom * np.log(2)),
    ),
    Fault(
        "bayes_rule",
        "test_each_part_of_a_gibbs_step_follows_bayes_rule",
        {"member": DIAG, "prior": "unknown"},
        f"{OWN}._seen",
        "a degree of freedom more for the scale given covariances",
        one_more,
    ),
    Fault(
        "bayes_rule",
        "test_each_part_of_a_gibbs_step_follows_bayes_rule",
        {"member": FULL, "prior": "known"},
        f"{OWN}._means_given",
        "the prior of the means half as wide",
        taking(lambda self, *rest: (replace(self, covariance=self.covariance / 4), *rest)),
    ),
    Fault(
        "bayes_rule",
        "test_each_part_of_a_gibbs_step_follows_bayes_rule",
        {"member": SPHERICAL, "prior": "known"},
        f"{OWN}.redraw",
        "covariances drawn with a degree of freedom more",
        taking(lambda self, *rest: (replace(self, degrees_of_freedom=self.degrees_of_freedom + 1), *rest)),
    ),
    Fault(
        "density",
        "test_an_independent_prior_integrates_to_one",
        {"member": SPHERICAL, "prior": "unknown"},
        f"{OWN}._rate",
        "the rate of the scale for a mean twice as large",
        lambda original: lambda self, structure: original(self, structure) / 2,
    ),
    Fault(
        "density",
        "test_what_a_prior_draws_has_its_density",
        {"member": FULL, "prior": "known"},
        f"{OWN}.draw",
        "drawn with a degree of freedom more",
        taking(lambda self, *rest: (replace(self, degrees_of_freedom=self.degrees_of_freedom + 1), *rest)),
    ),
    Fault(
        "mode",
        "test_the_posterior_is_flat_at_its_mode",
        {"member": FULL, "prior": "unknown"},
        f"{OWN}._scale_given",
        "the scale taken at its prior mean",
        lambda original: lambda self, structure, factors: self.scale,
    ),
    Fault(
        "mode",
        "test_the_posterior_is_flat_at_its_mode",
        {"member": DIAG, "prior": "known"},
        f"{OWN}.mode",
        "a degree of freedom less",
        taking(lambda self, *rest: (replace(self, degrees_of_freedom=self.degrees_of_freedom - 1), *rest)),
    ),
    Fault(
        "derivative",
        "test_an_unknown_scale_acts_by_its_mean",
        {"member": DIAG},
        f"{OWN}._scale_given",
        "the mean of the scale 1 % too large",
        lambda original: lambda self, structure, factors: 1.01 * original(self, structure, factors),
    ),
    Fault(
        "equivariance",
        "test_the_fit_of_mapped_rows_is_the_mapped_fit",
        {"member": DIAG, "prior": "unknown"},
        f"{OWN}.standardised",
        "the covariance of the means keeps its units",
        lambda original: lambda self, *args: replace(original(self, *args), covariance=self.covariance),
    ),
)

PRODUCT = "families.product:Product"


def without_last(original: Any) -> Any:
    """One block left out of a sum."""

    def method(self: Any, *args: Any) -> Any:
        own = [arg[-1] if isinstance(arg, tuple) else getattr(arg, "parts", (arg,))[-1] for arg in args]
        name = original.__name__
        if name == "tile_predictive":
            own[1] = self._divided(args[1])[-1]
        return original(self, *args) - getattr(self.parts[-1], name)(*own)

    return method


def sorted_columns(original: Any) -> Any:
    """The columns of a block taken in the order of the table."""
    return property(lambda self: tuple(tuple(sorted(at)) for at in original.fget(self)))


def keeping_last(original: Any) -> Any:
    """The last block keeps its prior."""
    return lambda self, statistics: self._with((*original(self, statistics).parts[:-1], self.parts[-1]))


FAULTS += tuple(
    Fault("product", test, arguments, target, what, mutate)
    for test, arguments, target, what, mutate in (
        (
            "test_scores_are_the_densities_of_the_blocks_together",
            {"fast": False},
            f"{PRODUCT}._divided",
            "blocks begin a column late",
            lambda original: lambda self, x, axis=0: original(self, jnp.roll(x, 1, axis), axis),
        ),
        (
            "test_scores_are_the_densities_of_the_blocks_together",
            {"fast": True},
            f"{PRODUCT}.at",
            "columns in the order of the table",
            sorted_columns,
        ),
        (
            "test_scores_are_the_densities_of_the_blocks_together",
            {"fast": False},
            "families.blocks:SideBySide.log_prob",
            "one block left out",
            lambda original: lambda self, x: original(self, x) - self.parts[-1].log_prob(x[..., np.array(self.at[-1])]),
        ),
        (
            "test_forms_are_those_of_the_blocks",
            {},
            f"{PRODUCT}._fast",
            "blocks take a fast form that they do not have",
            lambda original: lambda self, theta, fast: [fast] * len(self.blocks),
        ),
        (
            "test_forms_are_those_of_the_blocks",
            {},
            f"{PRODUCT}.safe",
            "the fast form however far the rows",
            lambda original: lambda self, theta, radius: original(self, theta, 0 * radius),
        ),
        (
            "test_forms_are_those_of_the_blocks",
            {},
            f"{PRODUCT}.same_prior",
            "the priors of the last block alone",
            lambda original: lambda self, k: self.parts[-1].same_prior(k),
        ),
        (
            "test_drawn_rows_have_their_places",
            {},
            f"{PRODUCT}.simulate",
            "columns left block by block",
            lambda original: lambda self, *args: original(self, *args)[:, np.concatenate(self.at)],
        ),
        (
            "test_drawn_rows_have_their_places",
            {},
            "families.blocks:SideBySide.sample",
            "columns left block by block",
            lambda original: lambda self, *args: original(self, *args)[..., np.concatenate(self.at)],
        ),
        (
            "test_blocks_draw_by_keys_of_their_own",
            {},
            f"{PRODUCT}.tile_labelled",
            "one key for all blocks",
            lambda original: (
                lambda self, theta, features, r, keys, fast: tuple(
                    part.tile_labelled(*own, r, keys, fast)
                    for part, *own in zip(self.parts, theta, features, strict=True)
                )
            ),
        ),
        (
            "test_no_block_dominates_where_starts_are_sought",
            {},
            "numerics:balanced",
            "blocks as they are",
            lambda original: lambda blocks: tuple(np.concatenate(side, 1) for side in zip(*blocks, strict=True)),
        ),
        (
            "test_likelihood_and_memberships_by_enumeration",
            {},
            f"{PRODUCT}.collect",
            "rows counted once for each block",
            lambda original: (
                lambda self, *args: replace(
                    original(self, *args), weight=sum(s.weight for s in original(self, *args).parts)
                )
            ),
        ),
        (
            "test_likelihood_and_memberships_by_enumeration",
            {},
            f"{PRODUCT}.arranged",
            "one block left where it was",
            lambda original: lambda self, theta, order: (*original(self, theta, order)[:-1], theta[-1]),
        ),
        (
            "test_sweeps_over_parts_add_up",
            {},
            f"{PRODUCT}.tile_statistics",
            "rows of one block weighed equally",
            lambda original: (
                lambda self, theta, features, r, fast: (
                    *original(self, theta, features, r, fast)[:-1],
                    original(self, theta, features, r / r.sum(0), fast)[-1],
                )
            ),
        ),
        *(
            (
                "test_prior_times_likelihood_over_posterior_is_constant",
                {"prior": "shared"},
                f"{PRODUCT}.{verb}",
                "one block left out",
                without_last,
            )
            for verb in ("log_prior", "divergence", "statistics_log_density")
        ),
        (
            "test_prior_times_likelihood_over_posterior_is_constant",
            {"prior": "shared"},
            f"{PRODUCT}.update",
            "one block keeps its prior",
            keeping_last,
        ),
        (
            "test_prior_times_likelihood_over_posterior_is_constant",
            {"prior": "shared"},
            f"{PRODUCT}.expected",
            "the posterior taken for certain",
            lambda original: lambda self, k: (original(self, k)[0], 0 * original(self, k)[1]),
        ),
        (
            "test_prior_times_likelihood_over_posterior_is_constant",
            {"prior": "shared"},
            f"{PRODUCT}.blend",
            "half of the way",
            lambda original: lambda self, other, rate: original(self, other, rate / 2),
        ),
        (
            "test_modes_are_those_of_the_blocks",
            {},
            f"{PRODUCT}.mode",
            "the posterior mean in the place of the mode",
            lambda original: at_centre,
        ),
        (
            "test_one_cluster",
            {},
            f"{PRODUCT}.tile_predictive",
            "one block left out",
            without_last,
        ),
        (
            "test_the_fit_of_mapped_rows_is_the_mapped_fit",
            {},
            "numerics:Affines.log_det",
            "the volume of the standardising maps forgotten",
            lambda original: property(lambda self: 0.0),
        ),
        (
            "test_the_fit_of_mapped_rows_is_the_mapped_fit",
            {},
            "numerics:Affines.apply",
            "rows of the first block moved by a tenth",
            lambda original: lambda self, x: original(self, x) + 0.1 * np.isin(np.arange(x.shape[1]), self.at[0]),
        ),
    )
)

LINEAR_PARTS = ("natural", "update", "mode", "expected")

STUDENT_T, DEGREES = "families.student_t:StudentT", "families.degrees_of_freedom"
OF_FULL = {"member": STUDENT[0]}


def certain_scales(original: Any) -> Any:
    """Hold the scales of the rows, as the rows themselves are held."""
    return lambda self, theta, *rest: original(self, jax.lax.stop_gradient(theta), *rest)


def weighed_for_counted(original: Any) -> Any:
    return lambda self, structure, statistics, rows=None: original(self, structure, statistics)


FAULTS += (
    Fault(
        "additive",
        "test_student_t_sweeps_over_parts_add_up",
        {**OF_FULL, "offset": 0.0},
        f"{STUDENT_T}._summed",
        "rows weighed equally",
        taking(lambda self, own, r, *rest: (self, own, r / jnp.maximum(r.sum(0), 1e-9), *rest)),
    ),
    Fault(
        "bayes_rule",
        "test_student_t_follows_bayes_rule_given_the_scales",
        {**OF_FULL, "prior": "shared"},
        f"{PRIOR}:NormalInverseWishart.update",
        "the weight of the rows in the place of their number",
        weighed_for_counted,
    ),
    Fault(
        "bayes_rule",
        "test_student_t_follows_bayes_rule_given_the_scales",
        {**OF_FULL, "prior": "shared"},
        f"{STUDENT_T}.tile_statistics",
        "scales that do not know the columns",
        taking(
            lambda self, theta, *rest: (self, replace(theta, degrees_of_freedom=theta.degrees_of_freedom + 1), *rest)
        ),
    ),
    Fault(
        "mode",
        "test_student_t_densities_are_flat_at_their_mode",
        {**OF_FULL, "prior": "each"},
        f"{STUDENT_T}.mode",
        "one row less",
        taking(lambda self, s, floor: (self, replace(s, weight=s.weight - 0.1), floor)),
    ),
    Fault(
        "mode",
        "test_student_t_densities_are_flat_at_their_mode",
        {**OF_FULL, "prior": "none"},
        f"{DEGREES}:most_probable",
        "the deviation counts half",
        lambda original: lambda rows, deviation, *rest: original(rows, deviation / 2, *rest),
    ),
    Fault(
        "fast_is_plain",
        "test_student_t_scores_are_log_densities",
        {**OF_FULL, "fast": False, "d": 2},
        f"{STUDENT_T}.tile_log_density",
        "a percent more degrees of freedom",
        taking(lambda self, t, *rest: (self, replace(t, degrees_of_freedom=1.01 * t.degrees_of_freedom), *rest)),
    ),
    Fault(
        "fast_is_plain",
        "test_student_t_statistics_touch_the_density",
        OF_FULL,
        f"{DEGREES}:phi",
        "the rest of Stirling's series for all of it",
        lambda original: lambda a: 1.001 * original(a),
    ),
    Fault(
        "derivative",
        "test_student_t_gradient_and_hessian_are_autodiffs",
        OF_FULL,
        f"{STUDENT_T}.tile_statistics",
        "scales held while parameters move",
        certain_scales,
    ),
    Fault(
        "derivative",
        "test_student_t_gradient_and_hessian_are_autodiffs",
        OF_FULL,
        f"{STUDENT_T}.statistics_log_density",
        "the normaliser counts 1 % more rows",
        taking(lambda self, theta, s: (self, theta, replace(s, weight=1.01 * s.weight))),
    ),
    Fault(
        "density",
        "test_the_prior_on_degrees_of_freedom_integrates_to_one",
        {"shape": 30.0, "rate": 1.0},
        f"{DEGREES}:TruncatedGamma.log_prob",
        "a hundredth of a nat more",
        lambda original: lambda self, value, intermediates=None: original(self, value) + 0.01,
    ),
    Fault(
        "density",
        "test_student_t_priors_are_one_density",
        OF_FULL,
        f"{STUDENT_T}.log_prior",
        "degrees of freedom without a prior",
        lambda original: lambda self, theta: self.gaussian.log_prior(theta.gaussian),
    ),
    Fault(
        "equivariance",
        "test_the_student_t_fit_of_mapped_rows_is_the_mapped_fit",
        {**OF_FULL, "prior": "shared"},
        f"{STUDENT_T}.standardised",
        "the prior stays in original units",
        lambda original: lambda self, frame: self,
    ),
    Fault(
        "symmetry",
        "test_student_t_forgets_the_order_of_clusters_rows_and_tiles",
        {"member": STUDENT[1]},
        f"{STUDENT_T}.arranged",
        "degrees of freedom stay behind",
        lambda original: (
            lambda self, theta, order: replace(
                original(self, theta, order), degrees_of_freedom=theta.degrees_of_freedom
            )
        ),
    ),
    Fault(
        "tiny_worlds",
        "test_drawn_scales_of_student_t_follow_their_distribution",
        {},
        f"{STUDENT_T}.tile_labelled",
        "scales of a degree of freedom more",
        taking(lambda self, t, *rest: (self, replace(t, degrees_of_freedom=t.degrees_of_freedom + 1), *rest)),
    ),
    Fault(
        "tiny_worlds",
        "test_slices_of_degrees_of_freedom_follow_their_density",
        {"rows": 6.0, "deviation": -1.5},
        f"{DEGREES}:sliced",
        "the volume of log nu forgotten",
        taking(lambda now, rows, deviation, shape, *rest: (now, rows, deviation, shape - 1, *rest)),
    ),
)

BEST = "test_no_labels_inside_the_bounds_are_better_than_the_best"

FAULTS += (
    Fault(
        "sizes",
        BEST,
        {"ties": False},
        "core.assignment:_Rows.cheapest",
        "any row moved, not the one that loses least",
        lambda original: lambda self, i, j: np.flatnonzero(np.isfinite(self.losses[i][j])),
    ),
    Fault(
        "sizes",
        BEST,
        {"ties": True},
        "core.assignment:_losses",
        "losses of half of their size",
        lambda original: lambda *args: original(*args) / 2,
    ),
    Fault(
        "sizes",
        BEST,
        {"ties": False},
        "core.assignment:_shortest",
        "prices left behind",
        lambda original: (
            lambda *args: (path := original(*args)) and path._replace(distance=np.zeros_like(path.distance))
        ),
    ),
    Fault(
        "sizes",
        BEST,
        {"ties": True},
        "core.assignment:_certified",
        "the low bounds forgotten",
        lambda original: lambda scores, low, *rest: original(scores, 0 * low, *rest),
    ),
    Fault(
        "measures",
        "test_rand_is_the_expectation_over_labels",
        {},
        "diagnostics.agreement:_pairs",
        "a row makes a pair with itself",
        adding_selves,
    ),
    Fault(
        "measures",
        "test_adjusted_rand_is_zero_over_all_orders_of_rows",
        {},
        "diagnostics.agreement:_pairs",
        "a row makes a pair with itself",
        adding_selves,
    ),
    Fault(
        "measures",
        "test_scatter_within_and_between_is_the_total",
        {"offset": 0.0},
        "diagnostics.separation:_Moments.merged",
        "tiles are merged as if their means were one",
        lambda original: lambda self, other: replace(original(self, other), second=self.second + other.second),
    ),
    Fault(
        "measures",
        "test_weights_count_copies_of_rows",
        {},
        "data.memberships:together",
        "weights are forgotten",
        lambda original: lambda X, memberships, sample_weight=None: original(X, memberships),
    ),
    Fault(
        "measures",
        "test_silhouette_of_hard_labels_is_rousseeuws",
        {"width": 1.0},
        "diagnostics.silhouette:_others",
        "a row is one of its own neighbours",
        lambda original: lambda loads: original(loads) + loads,
    ),
    Fault(
        "measures",
        "test_silhouette_of_hard_labels_is_rousseeuws",
        {"width": 1e-7},
        "diagnostics.silhouette:_distances",
        "distances come from products alone",
        lambda original: lambda x, xx, y, yy: jnp.sqrt(jnp.maximum(xx[:, None] + yy - 2 * x @ y.T, 0.0)),
    ),
    Fault(
        "measures",
        "test_no_linear_map_changes_the_determinants",
        {},
        "diagnostics.separation:_determinant_ratio",
        "the units of columns count",
        lambda original: lambda within, between: np.linalg.norm(within + between) / np.linalg.norm(within),
    ),
    Fault(
        "measures",
        "test_overlap_of_two_gaussians_is_the_tail_beyond_the_middle",
        {},
        "diagnostics.overlap:_wins",
        "rows are given to the less probable cluster",
        lambda original: lambda logs, own: original(-logs, own),
    ),
    Fault(
        "measures",
        "test_ambiguity_is_that_of_labels_drawn_twice",
        {},
        "diagnostics.ambiguity:entr",
        "entropies are in bits",
        lambda original: lambda shares: original(shares) / np.log(2),
    ),
)


def reversed_divergence(self: Any, log_distributions: Any) -> Any:
    """Scores of KL(q(y given t) || p(y given x)), of a full table."""
    shares = jnp.exp(log_distributions)
    return jnp.log(jnp.maximum(self.rows, 1e-12)) @ shares - (shares * log_distributions).sum(0)


def without_last_cells(original: Any) -> Any:
    def chunks(*args: Any) -> Any:
        cut = original(*args)
        return replace(cut, cells=cut.cells.at[:, -1].set(0.0))

    return chunks


BOTTLENECK = "core.bottleneck"
FAULTS += tuple(
    Fault("bottleneck", f"test_bottleneck_{test}", arguments, f"{BOTTLENECK}:{target}", what, mutate)
    for test, arguments, target, what, mutate in (
        (
            "is_a_tempered_mixture",
            {"wide": False},
            "encoded",
            "the prior term dropped",
            taking(lambda scores, log_weights, *rest: (scores, 0 * log_weights, *rest)),
        ),
        (
            "is_a_tempered_mixture",
            {"wide": False},
            "encoded",
            "beta applied to log q(t) too",
            taking(lambda scores, log_weights, beta, *rest: (scores, beta * log_weights, beta, *rest)),
        ),
        (
            "is_a_tempered_mixture",
            {"wide": False},
            "Channel.scores",
            "the divergence reversed",
            lambda original: reversed_divergence,
        ),
        (
            "is_a_tempered_mixture",
            {"wide": True},
            "_chunks",
            "a cell of each chunk lost",
            without_last_cells,
        ),
        (
            "lagrangian_never_rises",
            {"alpha": 0.4},
            "encoded",
            "alpha left out of the softmax",
            taking(lambda scores, log_weights, beta, alpha, hard: (scores, log_weights, beta, alpha / alpha, hard)),
        ),
        (
            "obeys_data_processing",
            {"alpha": 1.0},
            "amounts",
            "memberships of rows weighed equally",
            taking(lambda of, *rest: (replace(of, weights=of.weights * 0 + 1 / len(of.weights)), *rest)),
        ),
        (
            "foretold_steps_end_where_plain_ones_do",
            {},
            "log",
            "logs of memberships cut off at a hundredth",
            lambda original: lambda value: jnp.log(jnp.maximum(value, 1e-2)),
        ),
        (
            "merges_rows_that_are_alike",
            {},
            "Channel.sums",
            "sums of memberships without p(x)",
            lambda original: lambda self, r, d: original(self, r / jnp.maximum(self.weights[:, None], 1e-3), d),
        ),
    )
)
FAULTS += (
    Fault(
        "densities",
        "test_merging_keeps_mean_and_covariance",
        {"shared": True},
        "core.merging:moment_matched",
        "the spread of the means left out of a merged covariance",
        without_spread,
    ),
    Fault(
        "densities",
        "test_every_merge_is_the_cheapest",
        {},
        "core.merging:merge_cost",
        "a weight forgotten",
        of_weight_one,
    ),
    Fault(
        "densities",
        "test_the_squared_error_is_the_integral",
        {},
        "core.overlaps:squared_error",
        "the sign of the cross term",
        taking(lambda first, both, second: (first, -both, second)),
    ),
    Fault(
        "densities",
        "test_the_squared_error_is_the_integral",
        {},
        "core.refine:_overlaps",
        "a mixture meets its target twice",
        lambda original: lambda target, at: jax.tree.map(lambda leaf: leaf[..., :1] + 0 * leaf, original(target, at)),
    ),
    Fault(
        "densities",
        "test_a_density_integrates_to_one",
        {"d": 1, "shared": True},
        "core.kernels:components",
        "a constant dropped",
        unnormalised_components,
    ),
    Fault(
        "densities",
        "test_the_density_is_scipys",
        {"shared": False},
        "densities.mixture_density:_precision_factors",
        "the factor transposed",
        lambda original: lambda covariances: original(covariances).swapaxes(1, 2),
    ),
    Fault(
        "densities",
        "test_a_row_is_left_out",
        {},
        "core.kernels:leave_one_out",
        "the others' weights not brought back to 1",
        adding(lambda of, rows, width: jnp.sum(rows.w * jnp.log1p(-rows.w))),
    ),
)

COVERED = (
    "core.merging:",
    "core.overlaps:",
    "core.refine:",
    "core.kernels:",
    "densities.mixture_density:",
    "core.sweep:",
    "core.assign:",
    "core.bottleneck:",
    "core.assignment:",
    "core.dual:",
    "core.pivots:",
    f"{GAUSSIAN}:Gaussian.mode",
    f"{GAUSSIAN}:Gaussian.tile_log_density",
    f"{GAUSSIAN}:Gaussian.tile_statistics",
    f"{GAUSSIAN}:Gaussian.collect",
    f"{GAUSSIAN}:Gaussian.statistics_log_density",
    f"{GAUSSIAN}:Gaussian.tile_predictive",
    f"{PRIOR}:NormalInverseWishart.update",
    f"{PRIOR}:NormalInverseWishart.expected",
    f"{PRIOR}:NormalInverseWishart.divergence",
    f"{PRIOR}:NormalInverseWishart.predictive",
    *(f"{OWN}.{part}" for part in ("log_density", "draw", "redraw", "mode", "standardised", "_means_given", "_seen")),
    "families.weights:Dirichlet.update",
    "families.weights:Dirichlet.divergence",
    "core.allocate:",
    "core.rearrange:_in_pairs",
    "core.rearrange:_in_blocks",
    "core.rearrange:_labelled",
    f"{COVARIANCE}:Full.centred_features",
    f"{COVARIANCE}:_pairs",
    f"{COVARIANCE}:_pair_sums",
    f"{COVARIANCE}:_middle",
    f"{PRIOR}:NormalInverseWishart.log_density",
    "families.weights:Dirichlet.log_density",
    "families.linear:LinearFamily.tile_statistics",
    "families.linear:LinearFamily.statistics_log_density",
    *(f"{PRODUCT}.{verb}" for verb in ("update", "mode", "expected", "divergence", "tile_predictive", "log_prior")),
    "numerics:Affines.",
    *(f"families.{name}:{kind}.{part}" for name, kind in NAMES.items() for part in LINEAR_PARTS),
    *(f"{STUDENT_T}.{part}" for part in ("tile_log_density", "tile_statistics", "statistics_log_density", "mode")),
    f"{STUDENT_T}.tile_labelled",
    f"{DEGREES}:TruncatedGamma.log_prob",
    f"{DEGREES}:sliced",
    *(f"diagnostics.{measure}:" for measure in ("ambiguity", "agreement", "separation", "silhouette", "overlap")),
)
"""Beginnings of targets of which each has at least one fault: the pass, the assignment, the dual, both forms of the
score, the statistics, the mode, the priors and their posteriors, the drawing of labels, and the measures."""
