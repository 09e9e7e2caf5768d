"""Cluster penguins by four measurements: which clusters there are, who belongs to them, and who is in doubt.

python examples/penguins.py
"""

from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import entropy

import bayessoft as bs

MEASURES = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]
penguins = pd.read_csv(Path(__file__).parent / "data" / "penguins.csv", index_col="id").dropna(subset=MEASURES)
X = penguins[MEASURES]

# How many clusters? The BIC charges each parameter for its place; smaller is better.
fits = {k: bs.GaussianMixture(k, n_init=3, random_state=1).fit(X) for k in (1, 2, 3, 4)}
print("BIC by number of clusters:", {k: round(fit.bic(X)) for k, fit in fits.items()})
best = min(fits, key=lambda k: fits[k].bic(X))
gm = fits[best]
print(f"{best} clusters, status: {gm.status_.text}\n")

# The clusters.
print(gm.summary().round(2).to_string(), "\n")

# The rows: memberships sum to 1; their entropy, as a share of the largest possible, says how much in doubt a row is.
memberships = gm.predict_proba(X)
table = pd.DataFrame(memberships, index=X.index).add_prefix("cluster_").round(3)
table["ambiguity"] = (entropy(memberships, axis=1) / np.log(best)).round(3)
table.insert(0, "species", penguins["species"])
print("The penguins most in doubt:")
print(table.sort_values("ambiguity", ascending=False).head(6).to_string())
sure = (memberships.max(axis=1) > 0.95).sum()
print(f"\n{sure} of {len(X)} penguins have a membership above 0.95.\n")

# The species took no part in the fit; here is how the clusters meet them.
print(pd.crosstab(penguins["species"], gm.predict(X), colnames=["cluster"]).to_string())
