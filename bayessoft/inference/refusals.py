"""What engines refuse of mixtures and rows, before they touch them."""

from __future__ import annotations

from typing import Any

import numpy as np

from bayessoft.data.rows import Rows
from bayessoft.errors import OptionError
from bayessoft.families.family import ConjugateFamily, GibbsFamily, lacking
from bayessoft.inference.engine import Engine
from bayessoft.mixture import Mixture

__all__ = ["check_rows", "conjugate_only", "drawable_only", "modes_only", "tempered_only_by_em", "unconstrained_only"]


def check_rows(engine: Engine, mixture: Mixture, data: Rows) -> None:
    """Refuse weights that the engine cannot heed, and sizes that labels drawn for these rows cannot have."""
    family: Any = mixture.family
    if engine.WHOLE_WEIGHTS and (data.weights != np.round(data.weights)).any():
        raise OptionError(
            "sample_weight holds fractions, which labels drawn for each row cannot have: pass whole numbers, or use "
            "inference='nuts', which raises densities to these powers"
        )
    if engine.WHOLE_WEIGHTS and not family.labels_alone and (data.weights > 1).any():
        raise OptionError(
            f"sample_weight goes up to {data.weights.max():g}, but {family.name} draws more of a row than its label: "
            "pass each row as often as it counts, or use inference='nuts'"
        )
    if engine.WHOLE_WEIGHTS and mixture.sizes is not None:
        if (data.weights > 1).any():
            raise OptionError(
                f"sample_weight goes up to {data.weights.max():g}, and labels drawn under sizes have one row each: "
                "pass each row as often as it counts, or use inference='em'"
            )
        if data.evidence is not None and np.isneginf(data.evidence).any():
            raise OptionError(
                "evidence of -inf keeps rows out of clusters, and labels drawn under sizes could not get from all "
                "allowed ones to all others: pass finite evidence, such as -20, or use inference='em' or 'cavi'"
            )
        mixture.sizes.counts(mixture.k, round(data.total_weight))


def modes_only(mixture: Mixture, name: str) -> None:
    """Refuse priors without a mode to climb to."""
    others = "or use inference='cavi', 'svi', 'gibbs' or 'nuts'"
    if mixture.weights is not None and (np.asarray(mixture.weights.concentration) < 1).any():
        raise OptionError(
            f"a Dirichlet concentration below 1 has no mode for {name} to find: pass 1 or more (as "
            f"weight_concentration_prior, or as the strength of Near for its smallest share), {others}"
        )
    if not mixture.family.peaked:
        raise OptionError(
            f"the prior {mixture.family.prior} has no mode for {name} to find: pass concentrations and shapes of 1 or "
            f"more, {others}"
        )


def conjugate_only(mixture: Mixture, name: str) -> None:
    """Refuse a family without conjugate prior."""
    if family := lacking(mixture.family, ConjugateFamily):
        what = "has no conjugate prior"
        if isinstance(family, ConjugateFamily):
            prior = family.prior if isinstance(family.prior, str) else type(family.prior).__name__
            what = f"under the prior {prior} has no posterior in closed form"
        others = "'nuts'" if lacking(mixture.family, GibbsFamily) else "'gibbs', 'nuts'"
        raise OptionError(
            f"{family.name} {what}, which inference={name!r} needs: use {others}, 'svi' with a guide of NumPyro, or "
            "'map'"
        )


def drawable_only(mixture: Mixture, name: str) -> None:
    """Refuse a family whose parameters cannot be drawn given labels."""
    if family := lacking(mixture.family, GibbsFamily):
        raise OptionError(
            f"{family.name} has no draw of its parameters given labels, which inference={name!r} needs: use "
            "'nuts', 'svi' or 'map'"
        )


def tempered_only_by_em(engine: Engine, mixture: Mixture) -> None:
    """Refuse a temperature where it would make the result no posterior."""
    if mixture.family.power != 1 and engine.BAYESIAN:
        raise OptionError(
            f"temperature={1 / mixture.family.power:g}, and {type(engine).__name__} finds a posterior, which has no "
            "temperature: leave it out, or use inference='em'"
        )


def unconstrained_only(mixture: Mixture, name: str) -> None:
    """Refuse size constraints."""
    if mixture.sizes is not None:
        raise OptionError(
            f"sizes={mixture.sizes!r} cannot be met by inference={name!r}: use 'em', 'cavi' or 'svi' for sizes that "
            "hold on average over memberships, 'gibbs' for numbers of rows that hold in every draw, or sizes=Near(...)"
        )
