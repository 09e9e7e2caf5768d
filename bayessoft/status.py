"""How a fit ended, and what to do next."""

from __future__ import annotations

from enum import Enum

__all__ = ["Status"]


class Status(Enum):
    """How a fit ended. The value tells what to do next."""

    CONVERGED = "converged"
    SAMPLED = "sampled: R-hat and effective sample sizes are as they should be"
    MODES = (
        "sampled, but the chains are in different modes and do not mix: their draws are no one posterior; use fewer "
        "components, a stronger prior, copies (inverse_temperatures of Gibbs), or compare the modes one by one"
    )
    LABELS_UNCLEAR = (
        "sampled, but clusters cannot be told apart from draw to draw, so numbers by cluster mean little and intervals "
        "are refused: use fewer components, or a stronger prior"
    )
    NOT_MIXED = (
        "sampled, but R-hat or the effective sample sizes say that there are too few draws: raise draws and warmup of "
        "the engine, use fewer components, or a stronger prior"
    )
    DIVERGENT = (
        "sampled, but with divergent transitions, so parts of the posterior may be missing: raise target_accept of "
        "NUTS, for example to 0.95, or use a stronger prior"
    )
    GUIDE_FAR = (
        "converged, but the guide does not come near to the posterior (Pareto k above 0.7), so intervals may be too "
        "narrow, or elsewhere: pass SVI(guide='AutoMultivariateNormal'), or use inference='nuts'"
    )
    TIME_LIMIT = (
        "stopped at time_limit, and the draws until then are kept: raise time_limit, or lower draws; with a "
        "checkpoint, fit again, and the run goes on where it stopped"
    )
    INTERRUPTED = (
        "interrupted, and the draws until then are kept: fit again for all of them; with a checkpoint, the run goes on "
        "where it was interrupted"
    )
    NOT_CONVERGED = (
        "stopped at max_iter before the objective settled: raise max_iter or tol, or try other starts (n_init)"
    )
    COINCIDENT = (
        "converged, but centres of clusters coincide, as they do where distances from the rows hardly differ, in many "
        "columns above all: lower m towards 1 (or entropy_weight), use fewer clusters, reduce the columns (PCA), or "
        "pass variant='entropy'"
    )
    REG_COVAR_DOMINATES = (
        "converged, but reg_covar is larger than the variance of a column: rescale the columns, or lower reg_covar"
    )
    COLLAPSED = (
        "a component collapsed onto too few rows: set reg_covar above 0 or prior='weak' (of the family, where it is an "
        "object), use fewer components, or a simpler covariance_type; of soft k-means, pass a number as beta"
    )
    NON_FINITE = (
        "the objective is not finite: look for extreme rows, rescale the columns, or, of a mixture, set prior='weak'"
    )
    FELL = (
        "the objective got worse, which it never does in exact arithmetic: pass float64, rescale, or, of a mixture, "
        "set prior='weak'"
    )
    SIZES_NOT_MET = (
        "the size constraint is not met: the bounds may be all but impossible for these clusters; widen them, or try "
        "other starts (n_init)"
    )
    ILL_CONDITIONED = (
        "the covariances are singular, or too ill-conditioned for this dtype: pass X.astype(numpy.float64) where X is "
        "float32, drop columns that are constant or nearly combinations of others, or, of a mixture, set reg_covar or "
        "prior='weak'"
    )

    @property
    def text(self) -> str:
        """What happened, and what to do next."""
        return self.value

    @property
    def failed(self) -> bool:
        """Whether there is no result to return."""
        return self in (Status.COLLAPSED, Status.NON_FINITE, Status.FELL, Status.ILL_CONDITIONED)

    @property
    def converged(self) -> bool:
        """Whether the result is where the engine meant to arrive."""
        return self in (Status.CONVERGED, Status.SAMPLED, Status.REG_COVAR_DOMINATES)

    @property
    def early(self) -> bool:
        """Whether the user ended the run before all steps were made."""
        return self in (Status.TIME_LIMIT, Status.INTERRUPTED)

    @property
    def labelled(self) -> bool:
        """Whether numbers by cluster mean something: intervals are refused otherwise."""
        return self not in (Status.MODES, Status.LABELS_UNCLEAR)
