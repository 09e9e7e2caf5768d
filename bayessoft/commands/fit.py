"""``bayessoft fit``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bayessoft.commands.base import (
    Covariance,
    Device,
    DropMissing,
    Family,
    Force,
    Id,
    Inference,
    Json,
    Method,
    Metric,
    Prior,
    Quiet,
    Seed,
    Table,
    Variant,
    cells,
    errors_in_one_line,
    refuse_existing,
)
from bayessoft.report.methods import MIXTURE

if TYPE_CHECKING:
    from bayessoft.report.base import Outcome

__all__ = ["fit"]

# panels of the help
MIXTURES, OTHERS = "Mixtures (--method gmm)", "Other methods (--method soft-kmeans, fuzzy, bottleneck)"
SIZES = "Sizes (--method gmm by em, cavi, svi, gibbs; --method soft-kmeans)"


def fit(
    table: Table,
    components: Annotated[int, typer.Option(min=1, help="Number of clusters.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder to write the results into.", show_default=False)],
    id: Id = None,
    columns: Annotated[
        str | None, typer.Option(help="Columns to use, separated by commas; by default all that the family can use.")
    ] = None,
    drop_missing: DropMissing = False,
    method: Annotated[
        Method,
        typer.Option(
            help="gmm: a mixture of any --family; soft-kmeans: memberships by distances from centres; fuzzy: shares "
            "by fuzzy c-means; bottleneck: counts compressed to what rows say of columns."
        ),
    ] = MIXTURE,
    family: Annotated[
        Family | None,
        typer.Option(
            rich_help_panel=MIXTURES,
            help="What the columns hold. gaussian: measurements, student-t: the same with outliers; poisson: "
            "counts; multinomial: counts that share a total out; bernoulli, categorical: answers, two or more of them, "
            "in words or numbers.",
            show_default="gaussian",
        ),
    ] = None,
    covariance: Annotated[
        Covariance | None,
        typer.Option(
            rich_help_panel=MIXTURES, help="gaussian, student-t: shape of the components.", show_default="full"
        ),
    ] = None,
    inference: Annotated[
        Inference | None,
        typer.Option(
            rich_help_panel=MIXTURES,
            help="em: the best fit, map: by gradients; cavi: a posterior in closed form, svi: the same by batches "
            "of rows; gibbs, nuts: draws from the posterior.",
            show_default="em",
        ),
    ] = None,
    n_init: Annotated[
        int | None,
        typer.Option(min=1, help="All but gibbs, nuts: number of starts.", show_default="1, of bottleneck 10"),
    ] = None,
    max_iter: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="All but gibbs, nuts: most iterations.",
            show_default="100 of gmm, 10000 of bottleneck, else 300",
        ),
    ] = None,
    chains: Annotated[
        int | None,
        typer.Option(min=1, rich_help_panel=MIXTURES, help="gibbs, nuts: number of chains.", show_default=False),
    ] = None,
    draws: Annotated[
        int | None,
        typer.Option(min=1, rich_help_panel=MIXTURES, help="gibbs, nuts: draws of each chain.", show_default=False),
    ] = None,
    warmup: Annotated[
        int | None,
        typer.Option(min=1, rich_help_panel=MIXTURES, help="gibbs, nuts: steps before the draws.", show_default=False),
    ] = None,
    target_accept: Annotated[
        float | None,
        typer.Option(
            min=0.0, max=1.0, rich_help_panel=MIXTURES, help="nuts: acceptance to adapt to.", show_default=False
        ),
    ] = None,
    prior: Annotated[
        Prior | None,
        typer.Option(
            rich_help_panel=MIXTURES,
            help="Prior on the components; independent: gaussian only.",
            show_default="none for gaussian by em, else weak",
        ),
    ] = None,
    sizes: Annotated[
        str | None,
        typer.Option(rich_help_panel=SIZES, help="Sizes of the clusters, as rows (151,123,68) or %."),
    ] = None,
    min_size: Annotated[
        str | None,
        typer.Option(rich_help_panel=SIZES, help="Smallest size, as rows or %: one for all, or a list."),
    ] = None,
    max_size: Annotated[
        str | None,
        typer.Option(rich_help_panel=SIZES, help="Largest size, as rows or %: one for all, or a list."),
    ] = None,
    capacity: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN=LOW:HIGH",
            rich_help_panel=SIZES,
            help="Not gibbs: bounds on the sum of a column in each cluster, as amounts or %: "
            "load=:120, hours=10%:40%, cost=:100,200,200. It is no feature unless in --columns. May be repeated.",
            show_default=False,
        ),
    ] = None,
    beta: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=OTHERS,
            help="soft-kmeans: inverse temperature, in nats per unit of (squared) distance; auto: the most likely. "
            "bottleneck: what a nat of I(T; Y) is worth.",
            show_default="auto; bottleneck: 10",
        ),
    ] = None,
    anneal: Annotated[
        bool,
        typer.Option(
            "--anneal", rich_help_panel=OTHERS, help="soft-kmeans: raise beta from where all centres are one."
        ),
    ] = False,
    metric: Annotated[
        Metric | None,
        typer.Option(rich_help_panel=OTHERS, help="soft-kmeans: distance from a centre.", show_default="sqeuclidean"),
    ] = None,
    m: Annotated[
        float | None,
        typer.Option(
            "--m", rich_help_panel=OTHERS, help="fuzzy: fuzzifier, above 1; near 1 is hard.", show_default="2"
        ),
    ] = None,
    variant: Annotated[
        Variant | None,
        typer.Option(
            rich_help_panel=OTHERS,
            help="fuzzy: round clusters; with shapes; by exp of the distance; or beside noise.",
            show_default="standard",
        ),
    ] = None,
    entropy_weight: Annotated[
        float | None,
        typer.Option(
            rich_help_panel=OTHERS, help="fuzzy, entropy: in squared units of the columns.", show_default=False
        ),
    ] = None,
    noise_distance: Annotated[
        float | None,
        typer.Option(
            rich_help_panel=OTHERS,
            help="fuzzy, noise: distance of noise from every row.",
            show_default="rms from the mean",
        ),
    ] = None,
    alpha: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, rich_help_panel=OTHERS, help="bottleneck: 1 soft, 0 hard.", show_default="1"),
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            rich_help_panel=MIXTURES,
            help="gibbs, nuts: folder that keeps the run, written every 30 s.",
            show_default=False,
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", rich_help_panel=MIXTURES, help="Go on with the run that --checkpoint keeps.")
    ] = False,
    time_limit: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            rich_help_panel=MIXTURES,
            help="gibbs, nuts: seconds after which the draws so far count.",
            show_default=False,
        ),
    ] = None,
    seed: Seed = 0,
    device: Annotated[Device | None, typer.Option(help="Where to compute.", show_default="JAX's choice")] = None,
    force: Force = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Fit soft clusters to a table: memberships row by row, sizes, a model, a plot.

    In the folder --out: memberships.csv, summary.csv, plot.png, model/, fit.json; where the fit is a posterior,
    posterior.nc; with sizes or capacities, memberships_constrained.csv and size_bounds.csv. Columns that are not
    numeric, of answers those without 2 to 20 of them, are left out and named. Answers are numbered from 0 in order:
    fit.json has the numbers that posterior.nc holds.
    """
    given: dict[str, Any] = {
        "method": str(method),
        "components": components,
        "family": family and str(family),
        "covariance": covariance and str(covariance),
        "inference": inference and str(inference),
        "n_init": n_init,
        "max_iter": max_iter,
        "chains": chains,
        "draws": draws,
        "warmup": warmup,
        "target_accept": target_accept,
        "prior": prior and str(prior),
        "sizes": sizes,
        "min_size": min_size,
        "max_size": max_size,
        "capacity": capacity or None,
        "beta": beta,
        "anneal": anneal,
        "metric": metric and str(metric),
        "m": m,
        "variant": variant and str(variant),
        "entropy_weight": entropy_weight,
        "noise_distance": noise_distance,
        "alpha": alpha,
        "checkpoint": checkpoint and str(checkpoint),
        "resume": resume,
        "time_limit": time_limit,
        "seed": seed,
    }
    with errors_in_one_line():
        from bayessoft.data.writers import written_aside
        from bayessoft.report import console, document, files, settings, tables

        options = settings.understood(given)
        phases = console.Phases(quiet)
        refuse_existing(out, force, folder=True)
        with console.tidy_warnings(), written_aside(out) as aside:
            chosen = None if columns is None else cells(columns)
            outcome = _fit(table, id, chosen, drop_missing, options, device, out, phases)
            found = document.fit_document(outcome, files.file_names(outcome))
            with phases.phase("writing", f"{out}/"):
                files.write_fit(outcome, found, aside)
        if json:
            typer.echo(files.as_json(found))
        else:
            tables.print_fit(found, console.standard_output())


def _fit(
    table: Path,
    id: str | None,
    columns: Sequence[str] | None,
    drop_missing: bool,
    options: dict[str, Any],
    device: str | None,
    out: Path,
    phases: Any,
) -> Outcome:
    """Read the table, build the estimator and fit it."""
    from bayessoft.report import base, bounds, reading, runtime, settings

    with phases.phase("reading", str(table)):
        resources = [each.column for each in bounds.capacities(options)]
        found = reading.read_table(table, id, columns, drop_missing, options.get("family"), resources)
    with phases.phase("loading", "JAX"):
        runtime.turn_on_compilation_cache()
        with bounds.spelled_out():
            estimator = settings.estimator(options, found.resources)
    with runtime.on_device(device) as where:
        if where.startswith("tpu"):  # which has no float64
            found = replace(found, frame=found.frame.astype("float32"))
        what = f"{options['components']} clusters to {len(found.frame)} rows"
        with phases.fitting(what), bounds.spelled_out():
            estimator.fit(found.frame)
    return base.Outcome(estimator, found, out, id, options, where, phases.seconds)
