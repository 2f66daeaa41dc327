"""Tables of published and measured numbers as they are read."""

import re

import pytest

from varlite.experiments.paper_tables import join, read_table
from varlite.nb import html_tables as tables

OWN = {"model": "var-d16", "command": "varlite evaluate --num 50000", "scores": {"fid": 3.9123, "is": 274.4}}


def fields(html):
    """Rows of fields, without markup."""
    lines = re.findall(r"<tr>(.*?)</tr>", html)
    return [re.findall(r"<t[hd][^>]*>(?:<b>)?(.*?)(?:</b>)?</t[hd]>", line) for line in lines]


def test_a_measured_row_stands_in_bold_behind_the_published_ones_and_says_where_it_parts():
    rows = join(read_table("imagenet-256"), [OWN])
    html = tables.table(rows, "model fid is source mark").data
    found = [row for row in fields(html) if row[0] == "var-d16"]
    assert found == [
        ["var-d16", "3.30", "274.4", "VAR table 1", "two-copies"],
        ["var-d16", "3.91\N{NO-BREAK SPACE}≠", "274.4", "varlite evaluate --num 50000", "measured"],
    ]
    assert html.count("<b>var-d16</b>") == 1 and "<style" not in html


def test_published_numbers_keep_their_decimals_and_what_is_missing_is_a_dash():
    rows = join(read_table("model-zoo"), [])
    html = tables.table(rows, "model fid is recall params").data
    found = [row[1:] for row in fields(html) if row[0] == "var-d16"]
    assert found[0] == ["3.30\N{NO-BREAK SPACE}≠", "-", "-", "310M"]
    assert found[3] == [
        "3.375\N{NO-BREAK SPACE}≠",
        "298.45\N{NO-BREAK SPACE}≠",
        "0.4955",
        "-",
    ]  # as others' 0.50, to the decimals that are printed
    assert [row[1:] for row in fields(html) if row[0] == "var-d36"] == [["2.63", "-", "-", "2.3B"]] * 2


def test_times_known_to_be_longer_are_marked_as_such():
    rows = {row["model"]: tables.text(row, "time") for row in read_table("imagenet-256")}
    assert rows["L-DiT-7B"] == "> 45" and rows["var-d16"] == "0.4" and rows["BigGAN"] == "-" and rows["ADM"] == "168"


def test_a_selection_has_all_rows_folded_below_it():
    rows = read_table("imagenet-256")
    html = tables.table(rows, "model fid", lambda row: row["type"] == "VAR").data
    above, below = html.split("<details>")
    assert {row[0].partition("-")[0] for row in fields(above)[1:]} == {"var"}
    assert len(fields(below)) == len(rows) + 1 and f"all {len(rows)} rows" in below


def test_a_distance_says_its_range_over_seeds_if_it_has_one():
    row = {"fd": 2.0, "band": {"fd": [1.899, 2.151]}}
    assert tables.text(row, "fd") == "2.00 (1.90 to 2.15)"
    assert tables.text({"fd": 2.0}, "fd") == tables.text({"fd": 2.0, "band": {"fd": [2.0, 2.0]}}, "fd") == "2.00"


@pytest.mark.parametrize(
    ("count", "written"), [(310e6, "310M"), (2e9, "2.0B"), (1.5e9, "1.5B"), (2_684_000, "2.7M"), (61_000, "0.061M")]
)
def test_sizes_are_written_as_the_papers_do(count, written):
    assert tables.size(count) == written


def test_text_of_a_table_is_never_markup():
    assert "&lt;img&gt;" in tables.table([{"note": "<img>"}], "note").data


def test_a_column_that_no_row_has_is_refused():
    with pytest.raises(ValueError, match="columns: no row has fdi; there are model, fid"):
        tables.table([{"model": "a", "fid": 1.0}], "model fdi")
