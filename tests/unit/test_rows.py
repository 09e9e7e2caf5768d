"""Input checks: what passes, and that every refusal names the problem, the place and the remedy."""

import datetime
import re
import subprocess
import sys
from decimal import Decimal

import narwhals as nw
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.utils.validation import validate_data

from bayessoft.data.rows import Rows, fresh, row_ids, rows, table
from bayessoft.errors import DataError

X = np.array([[1.0, 2.0], [3.0, 5.0], [4.0, 7.0]])
FRAME_MAKERS = {
    "pandas": pd.DataFrame,
    "pandas nullable": lambda cells: pd.DataFrame(cells).convert_dtypes(),
    "pandas arrow": lambda cells: pa.table(cells).to_pandas(types_mapper=pd.ArrowDtype),
    "polars": lambda cells: pl.DataFrame(cells, strict=False),
    "arrow": pa.table,
    "narwhals": lambda cells: nw.from_native(pl.DataFrame(cells, strict=False)),
}


def through_sklearn(data: object, sample_weight: object = None) -> Rows:
    """Take the way of an estimator: table, validate_data, rows."""
    estimator = BaseEstimator()
    values = validate_data(estimator, table(data), dtype=[np.float64, np.float32], ensure_all_finite=False)
    columns = getattr(estimator, "feature_names_in_", None)
    return rows(values, columns=columns, ids=row_ids(data), sample_weight=sample_weight)


def refusal(function, *args, **options) -> str:
    with pytest.raises(DataError) as caught:
        function(*args, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


# --- what passes


def test_rows_keeps_float32_and_turns_the_rest_into_float64():
    assert rows(X.astype(np.float32)).values.dtype == np.float32
    for dtype in (np.float64, np.float16, np.longdouble, np.int8, np.uint64, bool, ">f8"):
        data = rows(X.astype(dtype))
        assert data.values.dtype == np.float64
        assert data.values.dtype.isnative
        np.testing.assert_array_equal(data.values, X.astype(dtype).astype(float))


def test_rows_describes_itself():
    data = rows(X, columns=["a", "b"], ids=["x", "y", "z"], sample_weight=[1, 0, 2.5])
    assert (data.n, data.d, data.total_weight) == (3, 2, 3.5)
    assert data.columns == ("a", "b")
    assert data.ids == ("x", "y", "z")
    assert data.weights.dtype == np.float64
    assert rows(X).columns is None
    assert rows(X).ids is None
    np.testing.assert_array_equal(rows(X).weights, 1.0)


def test_rows_hands_over_a_fresh_read_only_contiguous_array():
    given = np.ascontiguousarray(X)
    data = rows(given)
    assert data.values is not given
    assert np.shares_memory(data.values, given)
    assert type(data.values) is np.ndarray
    assert not data.values.flags.writeable
    assert given.flags.writeable
    for strange in (np.asfortranarray(X), X[::-1], np.repeat(X, 2, axis=1)[:, ::2]):
        assert rows(strange).values.flags.c_contiguous
        np.testing.assert_array_equal(rows(strange).values, strange)


def test_rows_takes_a_read_only_memory_map(tmp_path):
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    for data in (rows(mapped), through_sklearn(mapped)):
        assert type(data.values) is np.ndarray
        np.testing.assert_array_equal(data.values, X)


def test_fresh_is_another_object_over_the_same_memory():
    view = fresh(X)
    assert view is not X
    assert np.shares_memory(view, X)


def test_later_changes_of_the_weights_do_not_reach_the_rows():
    weights = np.array([1.0, 2.0, 3.0])
    data = rows(X, sample_weight=weights)
    weights[:] = 9
    np.testing.assert_array_equal(data.weights, [1, 2, 3])


@pytest.mark.parametrize("n", [1, 2, 511, 512, 513, 1300])
@pytest.mark.parametrize("d", [1, 2, 7, 600])
def test_one_bad_cell_is_found_wherever_it_is(n, d):
    rng = np.random.default_rng(n * d)
    for bad, word in ((np.nan, "NaN"), (-np.inf, "inf")):
        values = rng.normal(size=(n, d))
        i, j = int(rng.integers(n)), int(rng.integers(d))
        values[i, j] = bad
        assert re.search(rf"1 \w+ cell \({word}\) in 1 of {n} rows?: row {i} column {j} ", refusal(rows, values))


def test_constant_columns_equal_rows_and_extreme_scales_pass():
    for values in (np.ones((4, 2)), np.zeros((1, 1)), X * 1e150, X * 1e-150, X * 1e-300, 1e15 + X, X * 1e307):
        np.testing.assert_array_equal(rows(values).values, values)


@pytest.mark.parametrize(
    "weight", [pd.Series([1, 2, 3], index=[7, 8, 9]), pl.Series([1, 2, 3]), (1, 2, 3), [1, Decimal(2), 3]]
)
def test_weights_come_from_anything_one_dimensional(weight):
    np.testing.assert_array_equal(rows(X, sample_weight=weight).weights, [1, 2, 3])


@pytest.mark.parametrize("weight", [2, 2.0, np.float32(2), np.array(2)])
def test_a_number_is_the_weight_of_every_row(weight):
    np.testing.assert_array_equal(rows(X, sample_weight=weight).weights, [2, 2, 2])


# --- tables


@pytest.mark.parametrize("kind", FRAME_MAKERS)
def test_frames_of_every_kind_give_the_same_rows(kind):
    cells = {
        "i": [1, 2, 3],
        "f": [0.5, 1.5, 2.5],
        "b": [True, False, True],
        "dec": [Decimal("1.5"), Decimal(2), Decimal(3)],
    }
    data = through_sklearn(FRAME_MAKERS[kind](cells))
    assert data.columns == ("i", "f", "b", "dec")
    assert data.values.dtype == np.float64
    np.testing.assert_array_equal(data.values, [[1, 0.5, 1, 1.5], [2, 1.5, 0, 2], [3, 2.5, 1, 3]])


@pytest.mark.parametrize("kind", FRAME_MAKERS)
def test_missing_cells_of_frames_are_named(kind):
    cells = {"f": [0.5, 1.5, 2.5], "i": [1, None, 3], "b": [True, None, False], "nothing": [None, None, None]}
    message = refusal(through_sklearn, FRAME_MAKERS[kind](cells))
    assert "5 missing cells (NaN) in 3 of 3 rows" in message
    assert "row 1 column 'i'" in message
    assert "dropna" in message


@pytest.mark.parametrize("kind", FRAME_MAKERS)
@pytest.mark.parametrize(
    "cells",
    [
        ["a", "b"],
        ["1", "2"],
        [datetime.date(2020, 1, 1)] * 2,
        [datetime.datetime(2020, 1, 1)] * 2,
        [datetime.timedelta(1)] * 2,
    ],
    ids=["text", "digits", "date", "datetime", "duration"],
)
def test_columns_that_are_not_numbers_are_refused_by_name(kind, cells):
    message = refusal(table, FRAME_MAKERS[kind]({"mass": [1.0, 2.0], "other": cells}))
    assert "1 column that is not numeric: 'other' (" in message
    assert "mass" not in message
    assert "select the numeric columns, or encode" in message


@pytest.mark.parametrize(
    "column",
    [
        pd.Categorical(["x", "y"]),
        pd.Categorical([1, 2]),
        pd.period_range("2020", periods=2),
        np.array([1, "b"], dtype=object),
        np.array([1, {}], dtype=object),
        np.array([1j, 2]),
        np.array([[1], [2, 3]], dtype=object),
    ],
    ids=["category", "category of numbers", "period", "mixed", "dict", "complex", "list"],
)
def test_odd_pandas_columns_are_refused(column):
    assert "1 column that is not numeric: 'odd' (" in refusal(table, pd.DataFrame({"mass": [1.0, 2.0], "odd": column}))


def test_odd_polars_columns_are_refused():
    frame = pl.DataFrame({"a": [[1], [2]], "b": [{"x": 1}, {"x": 2}], "c": [b"x", b"y"], "d": [datetime.time(1), None]})
    frame = frame.with_columns(
        e=pl.Series(["u", "v"], dtype=pl.Categorical), f=pl.Series(["u", "v"], dtype=pl.Enum(["u", "v"]))
    )
    message = refusal(table, frame)
    assert message.startswith("X has 6 columns that are not numeric: 'a' (List")
    assert "'b' (Struct" in message
    assert ", ...: select" in message


def test_refused_columns_show_an_example():
    assert "'species' (String, such as 'Adelie')" in refusal(
        table, pl.DataFrame({"species": [None, "Adelie"], "m": [1, 2]})
    )


def test_frames_of_one_float_dtype_pass_untouched_and_keep_it():
    for dtype in (np.float32, np.float64):
        frame = pd.DataFrame(X.astype(dtype), columns=["a", "b"])
        assert table(frame) is frame
        assert through_sklearn(frame).values.dtype == dtype
    assert through_sklearn(pl.DataFrame(X.astype(np.float32))).values.dtype == np.float32
    assert through_sklearn(pd.DataFrame({"a": X[:, 0].astype(np.float32), "b": X[:, 1]})).values.dtype == np.float64


def test_pandas_sparse_columns_pass_as_numbers():
    frame = pd.DataFrame({"a": pd.arrays.SparseArray([0.0, 0.0, 1.0]), "b": [1, 2, 3]})
    np.testing.assert_array_equal(through_sklearn(frame).values, [[0, 1], [0, 2], [1, 3]])


def test_integers_too_large_for_int64_become_floats_or_infinite():
    frame = pd.DataFrame({"a": np.array([10**30, 1], dtype=object)})
    assert through_sklearn(frame).values[0, 0] == 1e30
    assert "infinite cell (inf)" in refusal(through_sklearn, [[10**400], [1]])
    assert through_sklearn(pa.table({"a": [2**60 + 1]})).values[0, 0] == 2**60


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame(np.ones((2, 3)), columns=["mass", "bill", "mass"]),
        pd.DataFrame([["a", 1, 2]] * 2, columns=["mass", "bill", "mass"]),
        pa.Table.from_arrays([pa.array([1.0])] * 3, names=["mass", "bill", "mass"]),
    ],
)
def test_duplicate_columns_are_named(frame):
    message = refusal(table, frame)
    assert "more than one column named 'mass'" in message
    assert "rename or drop" in message
    assert "bill" not in message


def test_lazy_frames_are_refused_with_the_remedy():
    assert "collect" in refusal(table, pl.LazyFrame({"a": [1]}))


def test_pandas_names_that_are_no_text_are_left_to_sklearn():
    assert through_sklearn(pd.DataFrame(X.astype(int))).columns is None
    two_levels = pd.DataFrame(X.astype(int), columns=pd.MultiIndex.from_tuples([("a", "x"), ("a", "y")]))
    assert through_sklearn(two_levels).columns is None
    with pytest.raises(TypeError, match="Feature names are only supported if all input features have string names"):
        through_sklearn(pd.DataFrame(X.astype(int), columns=["a", 1]))


def test_row_ids_come_from_a_pandas_index_that_says_something():
    frame = pd.DataFrame(X.copy(), columns=["a", "b"])
    assert row_ids(frame) is None
    assert row_ids(frame[1:]) == ("1", "2")
    assert row_ids(frame.set_axis(["x", "y", "z"])) == ("x", "y", "z")
    assert row_ids(frame.set_axis([10, 11, 12])) == ("10", "11", "12")
    for other in (X, X.tolist(), pl.DataFrame(X), pa.table({"a": [1]})):
        assert row_ids(other) is None
    frame.iloc[1, 1] = np.nan
    message = refusal(through_sklearn, frame.set_axis(["x", "y", "z"]))
    assert "row 1 (id 'y') column 'b'" in message


def test_empty_frames_and_arrays_end_in_a_clear_error():
    for empty in (
        pd.DataFrame(),
        pl.DataFrame(),
        pl.DataFrame({"a": []}),
        np.empty((0, 3)),
        np.empty((12, 0)),
        [],
        [[]],
    ):
        with pytest.raises(ValueError, match=r"0 (sample|feature)\(s\)|Expected 2D array|at least one"):
            through_sklearn(empty)
    assert re.search(
        r"0 feature\(s\) \(shape=\(12, 0\)\) while a minimum of 1 is required\.", refusal(rows, np.empty((12, 0)))
    )
    assert "0 sample(s)" in refusal(rows, np.empty((0, 3)))


# --- arrays and lists


def test_lists_and_objects_that_are_numbers_pass():
    for data in (X.tolist(), tuple(map(tuple, X)), X.astype(object), [[Decimal(1), 2.0], [3, True]]):
        assert through_sklearn(data).values.dtype == np.float64


def test_none_and_na_among_objects_are_missing_cells():
    for hole in (None, pd.NA, np.nan):
        assert "row 1 column 0" in refusal(through_sklearn, [[1.0, 2.0], [hole, 4.0]])


@pytest.mark.parametrize(
    ("data", "place"),
    [
        ([[1, 2], [3, "x"]], "row 1 column 1 is 'x' (str)"),
        ([["1.5", "2"]], "row 0 column 0 is '1.5' (str)"),
        (np.array([["1.5", "2"]]), "row 0 column 0 is '1.5' (str_)"),
        (np.array([[b"1"]]), "row 0 column 0"),
        (np.array([[1.0, "3"]], dtype=object), "row 0 column 1 is '3' (str)"),
        (np.array([["2020-01-01"]], dtype="M8[D]"), "row 0 column 0"),
        (np.array([[1]], dtype="m8[D]"), "row 0 column 0"),
        ([[1, datetime.date(2020, 1, 1)]], "row 0 column 1"),
        ([[1.0, pd.Timestamp("2020")]], "row 0 column 1"),
    ],
)
def test_text_and_dates_in_arrays_are_refused_at_their_place(data, place):
    message = refusal(table, data)
    assert place in message
    assert "text or dates" in message
    assert "select the numeric columns" in message


@pytest.mark.parametrize("data", [X + 1j, (X + 1j).astype(object), (X + 1j).tolist()])
def test_complex_data_are_refused(data):
    with pytest.raises(ValueError, match="Complex data not supported"):
        through_sklearn(data)
    with pytest.raises(DataError, match="Complex data not supported"):
        rows(X + 1j)


def test_sparse_data_are_refused():
    for kind in (sparse.csr_array, sparse.dok_array, sparse.coo_matrix):
        with pytest.raises(TypeError, match=r"Sparse data was passed.*toarray"):
            through_sklearn(kind(X))
        assert "toarray" in refusal(rows, kind(X))


def test_odd_objects_keep_the_type_error_of_sklearn():
    data = X.astype(object)
    data[0, 0] = {"foo": "bar"}
    with pytest.raises(TypeError, match=r"argument must be .* string.* number"):
        through_sklearn(data)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (None, "X is None"),
        ("penguins.csv", "read_csv"),
        ({"a": [1, 2]}, "pandas.DataFrame(X)"),
        ([[1, 2], [3]], "every row the same columns"),
        (np.ma.masked_array(X, mask=X > 6), "1 masked cell"),
        (np.array([(1, 2.0)], dtype=[("a", int), ("b", float)]), "pandas.DataFrame(X)"),
    ],
)
def test_what_is_no_table_is_refused_with_the_remedy(data, words):
    assert words in refusal(table, data)


def test_masked_arrays_without_a_masked_cell_pass():
    np.testing.assert_array_equal(through_sklearn(np.ma.masked_array(X)).values, X)


@pytest.mark.parametrize("data", [3.0, X[0], X[None], [1.0, 2.0], pd.Series([1.0]), pl.Series([1.0])])
def test_other_than_two_dimensions_end_in_a_clear_error(data):
    with pytest.raises(ValueError, match=r"2D array|2-dimensional|dim 3"):
        through_sklearn(data)
    assert "needs 2" in refusal(rows, np.asarray(data))


# --- rows that are refused


def test_missing_and_infinite_cells_are_counted_and_placed():
    values = np.arange(20.0).reshape(10, 2)
    values[[1, 4, 6, 8], 0] = np.nan
    values[4, 1] = np.inf
    message = refusal(rows, values, columns=["bill", "mass"])
    assert (
        "4 missing cells (NaN) in 4 of 10 rows: row 1 column 'bill', row 4 column 'bill', row 6 column 'bill', ..."
        in message
    )
    assert "1 infinite cell (inf) in 1 of 10 rows: row 4 column 'mass'" in message
    assert "drop or fill" in message
    assert "count from 0" in message


@pytest.mark.parametrize(
    "values",
    [
        np.array([[1, -1e308], [2, 1e308]]),
        np.array([[1, 0], [2, 1e-310]]),
        np.array([[1, -3e38], [2, 3e38]], dtype=np.float32),
        np.array([[1, 0], [2, 1e-40]], dtype=np.float32),
    ],
)
def test_a_spread_that_the_dtype_cannot_hold_is_refused(values):
    message = refusal(rows, values, columns=["bill", "mass"])
    assert message.startswith("column 'mass' spans from ")
    assert str(values.dtype) in message
    assert "rescale" in message


def test_long_doubles_beyond_float64_are_infinite():
    if np.finfo(np.longdouble).max == np.finfo(np.float64).max:
        pytest.skip("long double is float64 on this platform")
    values = np.array([[np.longdouble("1e400")], [1]])
    assert "infinite cell (inf)" in refusal(rows, values)
    with np.errstate(over="ignore"):
        assert "infinite cell (inf)" in refusal(through_sklearn, pd.DataFrame(values, columns=["a"]))


def test_names_of_the_wrong_number_are_refused():
    assert "columns has 1 names but X has 2" in refusal(rows, X, columns=["a"])
    assert "ids has 1 names but X has 3 rows" in refusal(rows, X, ids=["a"])


def test_dtypes_that_are_no_numbers_are_refused():
    for values in (np.array([["a"]]), np.array([[object()]]), np.array([["2020"]], dtype="M8[D]")):
        assert "not numbers" in refusal(rows, values)


@pytest.mark.parametrize(
    ("weight", "words"),
    [
        ([1, 2], ["shape (2,)", "3 rows", "pass 3 numbers"]),
        (np.ones((3, 2)), ["shape (3, 2)"]),
        (np.ones((3, 1)), ["shape (3, 1)"]),
        ([1, np.nan, 1], ["NaN", "1 of 3 rows", "row 1", ">= 0"]),
        ([1, None, 1], ["NaN", "row 1"]),
        ([1, 1, np.inf], ["infinite", "row 2 (inf)"]),
        ([-1, 1, -2], ["negative", "2 of 3 rows", "row 0 (-1.0)", "weight 0"]),
        (-1, ["negative", "3 of 3 rows"]),
        ([0, 0, 0], ["zero for all of 3 rows", "above 0"]),
        (0, ["zero for all of 3 rows"]),
        (["a", "b", "c"], ["not numbers"]),
        (["1", "2", "3"], ["not numbers"]),
        (pd.Series(["1", "2", "3"]), ["not numbers"]),
        ("heavy", ["not numbers"]),
        ([1j, 2, 3], ["not numbers"]),
        (np.array(["2020", "2021", "2022"], dtype="M8[Y]"), ["not numbers"]),
        ([1e308, 1e308, 1e308], ["sums to inf", "rescale"]),
        ([1e-320, 0, 0], ["float64 cannot hold", "rescale"]),
    ],
)
def test_unusable_weights_are_refused(weight, words):
    message = refusal(rows, X, sample_weight=weight)
    assert message.startswith("sample_weight")
    for word in words:
        assert word in message


def test_checking_rows_loads_no_jax():
    code = (
        "import sys, bayessoft.data.rows, bayessoft.data.readers; sys.exit(bool({'jax', 'pandas'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
