"""How much in doubt memberships are: row by row, and as one number."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.special import entr

from bayessoft.data.memberships import memberships_of
from bayessoft.data.tables import TableLike
from bayessoft.errors import OptionError

__all__ = ["membership_entropy", "partition_coefficient"]


def membership_entropy(memberships: TableLike, share: bool = False) -> Float[np.ndarray, " n"]:
    """Give the entropy of the memberships of each row.

    Parameters
    ----------
    memberships : array or DataFrame of shape (n, k)
        Memberships >= 0; rows sum to 1.
    share : bool, default False
        Whether to divide by log k, the largest entropy: 0 is certain, 1 any cluster as well. One cluster has 0.

    Returns
    -------
    array of shape (n,)
        In nats, 0 to log k, or as a share, 0 to 1; in the dtype of the memberships.

    Raises
    ------
    DataError
        What is no table of memberships.

    See Also
    --------
    GaussianMixture.entropy_interval : posterior intervals of the same, of a fit with a posterior.
    partition_coefficient : one number for all rows.

    Notes
    -----
    ``H_n = -sum_k r_nk log r_nk``, where 0 log 0 is 0 (Shannon, Bell System Technical J. 27 (1948)). Its mean over
    rows, with weights ``np.average(membership_entropy(r), weights=w)``, is the partition entropy of Bezdek, *Pattern
    Recognition with Fuzzy Objective Function Algorithms* (1981), chapter 4.

    Examples
    --------
    >>> membership_entropy([[1.0, 0.0], [0.5, 0.5]], share=True)
    array([0., 1.])
    """
    shares = memberships_of(memberships).values
    if shares.shape[1] == 1:
        return np.zeros(len(shares), shares.dtype)
    found = entr(shares).sum(1)
    if not share:
        return found
    return np.minimum(found / np.log(shares.shape[1], dtype=found.dtype), 1)


def partition_coefficient(memberships: TableLike, sample_weight: object = None, modified: bool = False) -> float:
    """Give the mean squared length of the memberships: 1 where all rows are certain.

    Parameters
    ----------
    memberships : array or DataFrame of shape (n, k)
        Memberships >= 0; rows sum to 1.
    sample_weight : array of shape (n,), optional
        Weights of the rows, >= 0.
    modified : bool, default False
        Whether to stretch it such that it is 0 where any cluster is as probable for every row, whatever k.

    Returns
    -------
    float
        1/k to 1, modified 0 to 1.

    Raises
    ------
    DataError
        What is no table of memberships, or no weights of its rows.
    OptionError
        `modified` for one cluster.

    See Also
    --------
    membership_entropy : row by row, in nats; its mean is the partition entropy.

    Notes
    -----
    ``PC = sum_n w_n sum_k r_nk^2 / sum_n w_n`` (Bezdek, *Pattern Recognition with Fuzzy Objective Function
    Algorithms* (1981), chapter 4), the probability
    that two labels drawn for the same row agree; modified, ``(k PC - 1) / (k - 1)`` (Dave, Pattern Recognition Letters
    17 (1996)). Neither sees the rows themselves: sharp memberships of a wrong model score well.

    Examples
    --------
    >>> partition_coefficient([[1.0, 0.0], [0.5, 0.5]])
    0.75
    >>> partition_coefficient([[1.0, 0.0], [0.5, 0.5]], modified=True)
    0.5
    """
    found = memberships_of(memberships, sample_weight)
    if modified and found.k == 1:
        raise OptionError("modified=True compares with 1/k, and there is one cluster only: leave it out")
    squares = np.einsum("nk,nk->n", found.values, found.values, dtype=np.float64)
    value = float(np.average(squares, weights=found.weights))
    return (found.k * value - 1) / (found.k - 1) if modified else value
