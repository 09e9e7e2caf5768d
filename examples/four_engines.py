"""One table, four engines: the best fit, a posterior in closed form, and draws by two samplers, side by side.

python examples/four_engines.py
"""

from pathlib import Path

import pandas as pd

import bayessoft as bs

MEASURES = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]
penguins = pd.read_csv(Path(__file__).parent / "data" / "penguins.csv", index_col="id").dropna(subset=MEASURES)
X = penguins[MEASURES]

# The best fit first. Its clusters are where the others start, so that all number them alike.
em = bs.GaussianMixture(3, prior="weak", weight_concentration_prior=1.0, random_state=1).fit(X)
engines = {
    "cavi": bs.CAVI(tol=1e-8, max_iter=1000),
    "gibbs": bs.Gibbs(draws=1000, warmup=300),
    "nuts": bs.NUTS(draws=250, warmup=250),  # few draws, to be quick
}
fits = {"em": em}
for name, engine in engines.items():
    fits[name] = bs.GaussianMixture(3, inference=engine, means_init=em.means_, random_state=1).fit(X)
for name, fit in fits.items():
    print(f"{name}: {fit.status_.text}")

# How large are the clusters in the population? EM has a number, the others an interval.
print("\nweights, with 95 % intervals:")
rows = {}
for name, fit in fits.items():
    table = fit.summary()
    if name == "em":
        rows[name] = [f"{weight:.2f}" for weight in table["weight"]]
    else:
        ends = zip(table["weight"], table["weight_low"], table["weight_high"], strict=True)
        rows[name] = [f"{weight:.2f} ({low:.2f} to {high:.2f})" for weight, low, high in ends]
print(pd.DataFrame(rows, index=[f"cluster_{j}" for j in range(3)]).T.to_string())

# To which cluster does a penguin in doubt belong, and how sure is that?
doubtful = fits["nuts"].predict_proba(X).max(axis=1).argsort()[:3]
some = X.iloc[doubtful]
print("\nmembership in the cluster that EM puts each of these penguins into, with 95 % intervals:")
own = em.predict(some)
table = pd.DataFrame(index=some.index)
for name, fit in fits.items():
    shares = fit.predict_proba(some)[range(3), own]
    table[name] = [f"{share:.2f}" for share in shares]
    if name != "em":
        ends = fit.membership_interval(some)[range(3), own]
        table[name] += [f" ({low:.2f} to {high:.2f})" for low, high in ends]
print(table.to_string())

# CAVI is quick, and its intervals are a little narrow: it takes labels, proportions and parameters for independent.
# Its bound is below the log evidence; with log k! for the names of clusters that are apart it compares numbers of them.
print("\nevidence lower bound, log k! added, by number of clusters:")
for k in (2, 3, 4):
    fit = bs.GaussianMixture(k, inference=bs.CAVI(tol=1e-6, max_iter=1000, n_init=3), random_state=1).fit(X)
    print(f"{k}: {fit.elbo_ + fit.log_relabellings_:.1f}")
