"""How far two soft clusterings of the same rows agree."""

from __future__ import annotations

import numpy as np

from bayessoft.data.memberships import Memberships, memberships_of
from bayessoft.data.tables import TableLike
from bayessoft.errors import DataError, counted

__all__ = ["soft_rand"]

TILE = 1 << 14  # rows looked at at a time


def soft_rand(first: TableLike, second: TableLike, sample_weight: object = None, adjusted: bool = True) -> float:
    """Give the Rand index between two soft partitions of the same rows, by default adjusted for chance.

    Parameters
    ----------
    first, second : array or DataFrame of shape (n, k), (n, l)
        Memberships >= 0 of the same rows; rows sum to 1. The numbers of clusters may differ.
    sample_weight : array of shape (n,), optional
        Weights of the rows, >= 0. Weight 2 counts as the row twice, and the two copies make a pair.
    adjusted : bool, default True
        Whether 0 is what partitions agree by chance, in the place of no agreement at all.

    Returns
    -------
    float
        At most 1, which hard partitions have that are the same but for the names of clusters. Not adjusted, 0 or more.

    Raises
    ------
    DataError
        What are no memberships of the same rows, or no weights of these.

    Notes
    -----
    Rows i and j are together in a partition with probability ``b_ij = sum_k r_ik r_jk``, were their labels drawn
    independently (the bonding matrix of Brouwer, J. Intelligent Information Systems 32 (2009), and the products of
    Frigui, Hwang and Rhee, Pattern Recognition 40 (2007), not divided by the lengths of the memberships). The Rand
    index is the expected share of pairs on which two partitions agree, ``b_ij c_ij + (1 - b_ij)(1 - c_ij)``. Adjusted,
    it is ``(A - BC/P) / ((B + C)/2 - BC/P)``, where A, B and C sum ``b c``, b and c over the P pairs: Hubert and Arabie
    (J. Classification 2 (1985)), with the expectation over all orders of the rows of one partition, BC/P. Sums over
    pairs come from the k x l table of joint memberships, ``sum_ij b_ij c_ij = sum_kl (sum_i r_ik q_il)^2``, less the
    pairs of a row with itself.

    A soft partition scores less than 1 against itself, since labels drawn twice differ where a row is in doubt:
    memberships of 1/k for every row, by which no pair is told from another, have 0. To see how much of a score is
    doubt, compare it with ``soft_rand(first, first)``. Where no row is in doubt it is scikit-learn's `rand_score` and
    `adjusted_rand_score`.

    Examples
    --------
    >>> r = [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.2, 0.8]]
    >>> soft_rand([[0, 1], [0, 1], [1, 0], [1, 0]], [[1, 0], [1, 0], [0, 1], [0, 1]])
    1.0
    >>> round(soft_rand(r, r), 2)
    0.66
    """
    one = memberships_of(first, sample_weight, "first")
    other = memberships_of(second, sample_weight, "second")
    if one.n != other.n:
        raise DataError(f"first has {counted(one.n, 'row')} and second has {other.n}: pass those of the same rows")
    both, own, others, pairs = _pairs(one, other)
    if not adjusted:
        return 1.0 if pairs == 0 else 1 + (2 * both - own - others) / pairs
    chance = own * others / pairs if pairs > 0 else 0.0
    room = (own + others) / 2 - chance
    rounding = 64 * np.finfo(np.float64).eps  # of sums below 1; of half a million rows it is 6
    return (both - chance) / room if room > rounding else 1.0  # no pair together in either, or every pair in both


def _pairs(one: Memberships, other: Memberships) -> tuple[float, float, float, float]:
    """Give ordered pairs of different rows: expected together in both, in the first, in the second, and all.

    In units of the square of the total weight, or up to 4 times that: a power of 2, so that counts stay exact.
    """
    power = -int(np.frexp(one.weights.sum())[1])
    table, sizes, counts = np.zeros((one.k, other.k)), np.zeros(one.k), np.zeros(other.k)
    selves = np.zeros(4)
    for start in range(0, one.n, TILE):
        part = slice(start, start + TILE)
        r, q, w = (np.asarray(each[part], np.float64) for each in (one.values, other.values, one.weights))
        copies = np.ldexp(w, power) * np.ldexp(np.minimum(w, 1), power)  # pairs of a row with the same copy of itself
        w = np.ldexp(w, power)
        table += (r * w[:, None]).T @ q
        sizes += w @ r
        counts += w @ q
        alone, alike = (r**2).sum(1), (q**2).sum(1)
        selves += [copies @ (alone * alike), copies @ alone, copies @ alike, copies.sum()]
    sums = np.array([(table**2).sum(), (sizes**2).sum(), (counts**2).sum(), sizes.sum() ** 2])
    both, own, others, pairs = (sums - selves).tolist()
    return both, own, others, pairs
