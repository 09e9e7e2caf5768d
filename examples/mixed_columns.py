"""Cluster penguins by measurements, sex and island together: columns of several kinds, each block with its own family.

python examples/mixed_columns.py
"""

from pathlib import Path

import pandas as pd

import bayessoft as bs

MEASURES = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]
penguins = pd.read_csv(Path(__file__).parent / "data" / "penguins.csv", index_col="id").dropna()

# Answers have to be numbers, 0 to m - 1: `factorize` numbers words in the order of the table, and keeps the words.
X = penguins[MEASURES].copy()
words = {}
for column in ("sex", "island"):
    X[column], words[column] = pd.factorize(penguins[column])
print({column: list(answers) for column, answers in words.items()})

# Given the cluster, measurements vary together, and sex and island are independent of them and of each other.
family = bs.Product([(bs.Gaussian("tied", "weak"), MEASURES), (bs.Categorical(), ["sex", "island"])])
fits = {k: bs.MixtureModel(k, family, random_state=0).fit(X) for k in (3, 4, 5, 6, 7)}
print("BIC by number of clusters:", {k: round(fit.bic(X)) for k, fit in fits.items()})
model = min(fits.values(), key=lambda fit: fit.bic(X))

# The clusters: means of the measurements, then the probabilities of the answers.
print(f"\n{model.n_components} clusters, {model.status_.text}:")
print(model.summary().round(2).T.to_string())

# The species took no part in the fit; here is how the clusters meet them.
found = pd.Series(model.predict(X), X.index, name="cluster")
print("\n" + pd.crosstab([penguins["species"], penguins["sex"]], found).to_string())
