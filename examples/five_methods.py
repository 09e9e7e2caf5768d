"""Cluster penguins by five methods, and tell by measures how they differ.

python examples/five_methods.py [FOLDER for the pictures, by default the current one]
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

import bayessoft as bs
from bayessoft import plots

HERE, OUT = Path(__file__).parent, Path(sys.argv[1] if len(sys.argv) > 1 else ".")
COLUMNS = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]

penguins = pd.read_csv(HERE / "data" / "penguins.csv", index_col="id").dropna(subset=COLUMNS)
X = (penguins[COLUMNS] - penguins[COLUMNS].mean()) / penguins[COLUMNS].std()  # distances need common units
species = pd.get_dummies(penguins["species"]).astype(float)

METHODS = {
    "Gaussian mixture": bs.GaussianMixture(3, n_init=3, random_state=0),
    "soft k-means": bs.SoftKMeans(3, n_init=5, random_state=0),
    "soft k-medians": bs.SoftKMeans(3, metric="euclidean", n_init=5, random_state=0, max_iter=2000),
    "fuzzy c-means": bs.FuzzyCMeans(3, n_init=5, random_state=0),
    "Gustafson-Kessel": bs.FuzzyCMeans(3, variant="gustafson-kessel", n_init=5, random_state=0),
}

memberships = {name: model.fit(X).responsibilities_ for name, model in METHODS.items()}

rows = {}
for name, r in memberships.items():
    rows[name] = {
        "sizes": " ".join(f"{size:.0f}" for size in np.sort(r.sum(axis=0))),
        "entropy": bs.membership_entropy(r, share=True).mean(),
        "partition": bs.partition_coefficient(r, modified=True),
        "silhouette": bs.soft_silhouette(X, r).mean,
        "Xie-Beni": bs.xie_beni(X, r),
        "Fisher": bs.fisher_ratio(X, r),
        "species": bs.soft_rand(r, species),
    }
print("Three clusters of 342 penguins, by five methods:")
print(pd.DataFrame(rows).T.to_string(float_format="{:.3f}".format))

# Memberships that mean belief are sharp where the model is; shares of fuzzy c-means never are.
print("\nAgreement with each other (adjusted Rand index of the memberships):")
names = list(memberships)
agreement = [[bs.soft_rand(memberships[a], memberships[b]) for b in names] for a in names]
print(pd.DataFrame(agreement, names, names).round(2).to_string())

# The rows that a method is least sure of, and what the others say of them.
doubt = pd.DataFrame({name: bs.membership_entropy(r, share=True) for name, r in memberships.items()}, index=X.index)
print("\nRows most in doubt by the mixture, as shares of the largest entropy:")
print(doubt.nlargest(4, "Gaussian mixture").round(2).to_string())

for name in ("Gaussian mixture", "fuzzy c-means"):
    ax = plots.ambiguity_map(X, memberships[name])
    ax.set_title(name)
    plots.save(ax, OUT / f"{name.split()[0].lower()}_doubt.png")
