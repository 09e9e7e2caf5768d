"""Say what is known of the sizes of the clusters, and read off what that costs: the prices.

python examples/known_sizes.py
"""

from pathlib import Path

import numpy as np
import pandas as pd

import bayessoft as bs

MEASURES = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]
penguins = pd.read_csv(Path(__file__).parent / "data" / "penguins.csv", index_col="id").dropna(subset=MEASURES)
X = penguins[MEASURES]


def fit(sizes):
    """Fit three clusters, precisely enough to compare objectives."""
    return bs.GaussianMixture(3, sizes=sizes, tol=1e-9, max_iter=1000, random_state=1).fit(X)


def total(gm):
    """Objective of all rows together, in nats."""
    return gm.lower_bound_ * len(X)


def show(title, gm, free):
    """Print sizes, prices and what the constraint costs."""
    print(title)
    print(pd.DataFrame({"rows": gm.sizes_.round(2), "price": gm.prices_.round(4)}).T.to_string())
    print(f"cost {total(free) - total(gm):.3f} nats, duality gap {gm.duality_gap_:.0e}; {gm.status_.text}\n")


free = fit(None)
print(f"Sizes left free: {free.responsibilities_.sum(axis=0).round(2)} rows\n")

# Sizes known: the counts of the three species. They belong to whichever clusters they suit best.
counts = penguins["species"].value_counts()
show(f"Sizes known, {counts.to_dict()}:", fit(bs.Fixed(counts.to_list())), free)

# Sizes that contradict the rows cost much more.
show("Equal thirds:", fit(bs.Fixed([1 / 3] * 3, unit="share")), free)

# Bounds: no cluster below 80 rows. Only the active bound has a price.
bounded = fit(bs.Between(low=80))
show("At least 80 rows each:", bounded, free)

# What a price means: the next row costs as much.
price = bounded.prices_.max()
dearer = total(bounded) - total(fit(bs.Between(low=81)))
print(f"An 81st row: the price said about {price:.3f} nats, the fit paid {dearer:.3f}.")
changed = np.flatnonzero(bounded.responsibilities_.argmax(axis=1) != free.predict(X))
print(f"Rows that changed cluster under the bound: {', '.join(X.index[changed])}.")
