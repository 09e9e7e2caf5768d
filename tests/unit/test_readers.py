"""Reading CSV files: what comes back, and that every refusal is one line with the place and the remedy."""

import os
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bayessoft.data.readers import read_csv
from bayessoft.data.rows import row_ids
from bayessoft.errors import DataError

PENGUINS = Path(__file__).parents[2] / "examples" / "data" / "penguins.csv"
MEASUREMENTS = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]


@pytest.fixture
def write(tmp_path):
    def writer(content: str | bytes) -> Path:
        path = tmp_path / "table.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return writer


def refusal(path: object, **options: object) -> str:
    with pytest.raises(DataError) as caught:
        read_csv(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


# --- what comes back


def test_penguins_have_342_complete_rows():
    result = read_csv(PENGUINS, id="id", drop_missing=True)
    assert result.frame.shape == (342, 4)
    assert list(result.frame) == MEASUREMENTS
    assert result.left_out == ("species", "island", "sex")
    assert result.dropped == 2
    assert result.path == PENGUINS
    assert set(result.frame.dtypes) == {np.dtype(np.float64)}
    assert len(set(row_ids(result.frame))) == 342
    assert not result.frame.isna().any(axis=None)


def test_numbers_bools_and_their_missing_cells(write):
    path = write("id,a,b,big,text,c\n007,1.5,True,99999999999999999999999,x,-1e-3\nNA,2,,1,,2\n3, 4 ,False,2,y,3\n")
    result = read_csv(path, id="id", drop_missing=True)
    assert list(result.frame) == ["a", "b", "big", "c"]
    assert list(result.frame.index) == ["007", "3"]
    assert result.left_out == ("text",)
    assert result.dropped == 1
    np.testing.assert_array_equal(result.frame, [[1.5, 1, 1e23, -1e-3], [4, 0, 2, 3]])


def test_an_id_that_reads_like_a_missing_value_is_kept(write):
    assert list(read_csv(write("country,a\nNA,1\nNZ,2\n"), id="country").frame.index) == ["NA", "NZ"]


def test_chosen_columns_come_in_their_order_and_before_rows_are_dropped(write):
    path = write("a,b,c\n1,,3\n4,5,6\n")
    result = read_csv(path, columns=["c", "a"])
    assert list(result.frame) == ["c", "a"]
    assert (result.dropped, result.left_out) == (0, ())
    np.testing.assert_array_equal(result.frame, [[3, 1], [6, 4]])


def test_without_ids_the_positions_in_the_file_stay(write):
    assert row_ids(read_csv(write("a\n1\n2\n")).frame) is None
    assert row_ids(read_csv(write("a,b\n1,1\n,1\n3,1\n"), drop_missing=True).frame) == ("0", "2")


@pytest.mark.parametrize(
    "content",
    [
        "\ufeffa,b\n1,2\n3,4\n",
        "a,b\r\n1,2\r\n3,4\r\n",
        "a,b\r1,2\r3,4\r",
        "a,b\n1,2\n3,4",
        "\n\na,b\n1,2\n   \n3,4\n\n",
        '"a","b"\n"1","2"\n"3","4"\n',
        "a, b\n1, 2\n3, 4\n",
        "a ,b \n1 ,2\n3,4\n",
    ],
    ids=["BOM", "CRLF", "CR", "no last newline", "blank lines", "quotes", "spaces before", "spaces after"],
)
def test_the_usual_ways_of_writing_give_the_same_table(write, content):
    frame = read_csv(write(content)).frame
    assert list(frame) == ["a", "b"]
    np.testing.assert_array_equal(frame, [[1, 2], [3, 4]])


@pytest.mark.parametrize("word", ["", "NA", "NaN", "nan", "null", "N/A"])
def test_words_for_missing(write, word):
    assert read_csv(write(f"a,b\n1,2\n{word},4\n"), drop_missing=True).dropped == 1


def test_a_column_without_any_value_is_left_out(write):
    assert read_csv(write("a,b\n1,\n2,NA\n")).left_out == ("b",)


def test_text_in_two_scripts_and_newlines_in_quotes(write):
    result = read_csv(write('name,größe,x\nZoë,1,"a\nb"\n雪,2,c\n'), id="name")
    assert list(result.frame.index) == ["Zoë", "雪"]
    assert list(result.frame) == ["größe"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes need POSIX")
def test_a_pipe_serves_as_a_file(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=("a\n1\n2\n",), daemon=True)
    writer.start()
    np.testing.assert_array_equal(read_csv(pipe).frame, [[1], [2]])
    writer.join(timeout=10)


def test_numbers_read_exactly_as_python_reads_them(write):
    numbers = np.random.default_rng(0).normal(size=200) * 10.0 ** np.random.default_rng(1).integers(-30, 30, 200)
    frame = read_csv(write("a\n" + "\n".join(map(repr, numbers.tolist())) + "\n")).frame
    np.testing.assert_array_equal(frame["a"], numbers)


def test_the_frame_agrees_with_pandas():
    plain = pd.read_csv(PENGUINS)[MEASUREMENTS].dropna().to_numpy(dtype=float)
    np.testing.assert_array_equal(
        read_csv(PENGUINS, drop_missing=True).frame.drop(columns="id", errors="ignore"), plain
    )


# --- what is refused


def test_a_missing_file_and_a_folder(tmp_path):
    message = refusal(tmp_path / "nowhere.csv")
    assert "nowhere.csv: No such file" in message
    assert "current folder" in message
    assert "directory" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", ["the file is empty", "header"]),
        ("\n\n", ["the file is empty"]),
        ("a,b\n", ["header but no row"]),
        ("a,b\n1,2\n3\n", ["line 3 has 1 field but the header has 2", "same fields"]),
        ("a,b\n1,2\n\n3,4,5\n", ["line 4 has 3 fields but the header has 2", "quote"]),
        ('a,t\n1,"x\ny"\n3\n', ["line 4 has 1 field"]),
        ('a,b\n1,2\n3,"4\n5,6\n', ["record at line 3 is malformed", "quotes"]),
        ('a,b\n1,"2"3\n', ["record at line 2 is malformed", "quotes"]),
        (b"a,b\n1,2\n3,\xff4\n", ["line 3 is not UTF-8", "save the file as UTF-8"]),
        ("a,b\n1,2\n".encode("utf-16"), ["line 1", "UTF-8"]),
        (b"a,b\n1,\x002\n", ["line 2 holds a NUL character"]),
        ("a,b,a\n1,2,3\n", ["header repeats 'a'", "name of its own"]),
        (",b\n1,2\n", ["column 1 has no name"]),
        ("a;b\n1;2\n", ["separated by semicolons", "commas"]),
        ("a\tb\n1\t2\n", ["separated by tabs"]),
        ("a,b\nx,1_000\n", ["no column is numeric among 'a', 'b'"]),
        (
            "a,b\n1,\n,2\n",
            ["2 missing cells in 2 of 2 rows: line 2 column 'b', line 3 column 'a'", "--drop-missing", "--columns"],
        ),
        ("a,b\n1,inf\n2,1\n", ["1 infinite cell (inf) in 1 of 2 rows: line 2 column 'b'", "--columns"]),
        ("a,b\n1,1e999\n2,1\n", ["infinite cell (inf)"]),
    ],
)
def test_files_that_cannot_be_used(write, content, words):
    message = refusal(write(content))
    assert "table.csv" in message
    for word in words:
        assert word in message


def test_missing_cells_are_named_by_line_and_id(write):
    message = refusal(write('id,a,t\nN1,1,"x\ny"\n\nN2,,z\n'), id="id")
    assert "1 missing cell in 1 of 2 rows: line 5 (id 'N2') column 'a'" in message


def test_many_missing_cells_are_counted_and_the_first_named(write):
    message = refusal(write("a,b\n" + "1,\n" * 9 + "1,2\n"))
    assert "9 missing cells in 9 of 10 rows" in message
    assert "line 4 column 'b', ...:" in message


def test_no_row_left(write):
    message = refusal(write("a,b\n1,\n,2\n,3\n"), drop_missing=True)
    assert "no row is complete, column 'a' alone lacks 2 of 3 cells" in message
    assert "--columns" in message


def test_infinite_cells_of_dropped_rows_do_not_matter(write):
    assert len(read_csv(write("a,b\ninf,\n1,2\n"), drop_missing=True).frame) == 1


def test_unknown_names_show_the_close_match_and_all_names():
    message = refusal(PENGUINS, columns=["body_mas_g"])
    assert "no column 'body_mas_g': did you mean 'body_mass_g'?" in message
    assert "'flipper_length_mm'" in message
    assert "no column 'ID'" in refusal(PENGUINS, id="ID")
    assert "did you mean" not in refusal(PENGUINS, columns=["zzz"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"columns": ["t"]},
            ["column 't' is not numeric: line 3 (id 'N2') holds 'x'", "leave it out, or correct the cell"],
        ),
        ({"columns": ["e"]}, ["column 'e' has no value"]),
        ({"columns": ["id"]}, ["'id' is the id"]),
        ({"columns": ["a", "a"]}, ["'a' is chosen twice"]),
        ({"columns": []}, ["no column chosen", "'a'"]),
    ],
)
def test_choices_that_cannot_be_read(write, options, words):
    message = refusal(write("id,a,t,e\nN1,1,1,\nN2,2,x,\n"), id="id", **options)
    for word in words:
        assert word in message


def test_ids_must_be_there_and_unique(write):
    message = refusal(write("id,a\nN1,1\nN2,2\nN1,3\n"), id="id")
    assert "lines 2 and 4 share the id 'N1'" in message
    assert "of its own" in message
    assert "line 3 has no 'id'" in refusal(write("id,a\nN1,1\n ,2\n"), id="id")
    assert "no column chosen" in refusal(write("id\nN1\n"), id="id")
