#!/usr/bin/env bash
# duckdb 2.0.1, beside pandas 3.1.1 and polars 2.1.0: try_cast of text to a number takes underscores between digits, as SQL literals
# have them, and drops them. Codes of products such as 12_3 (product 12, color 3) and 1_23 become one number, 123, and dates
# written 2024_01_02 the number 20240102.
#
# A good guess: try_cast gives NULL for text that is no plain number, so where it gives no NULL the column holds whole-number ids.
# Polars (cast with strict=False) and pandas (to_numeric with errors="coerce") give null and NaN for all of these codes, and
# DuckDB's own read_csv keeps the same column as text. With try_cast three items become one, without an error.
#
# Exits 0 while this is so, 1 when DuckDB behaves otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check duckdb==2.0.1 pandas==3.1.1 polars==2.1.0
cat > "$folder/codes.py" <<'PYTHON'
import sys

import duckdb
import pandas as pd
import polars as pl

print("duckdb", duckdb.__version__, "pandas", pd.__version__, "polars", pl.__version__)
codes = ["12_3", "1_23", "1_2_3", "2024_01_02"]
with open("log.csv", "w") as file:
    file.write("user,item\n" + "".join(f"{user},{code}\n" for user, code in enumerate(codes)))
kind = duckdb.sql("DESCRIBE SELECT item FROM read_csv('log.csv')").fetchall()[0][1]
rows = duckdb.sql("SELECT try_cast(item AS BIGINT), try_cast(item AS DOUBLE) FROM read_csv('log.csv')").fetchall()
whole, real = map(list, zip(*rows, strict=True))
by_polars = pl.Series(codes).cast(pl.Int64, strict=False).to_list()
by_pandas = pd.to_numeric(pd.Series(codes), errors="coerce")
print("codes", codes, "- type by read_csv of DuckDB:", kind)
print("DuckDB try_cast to BIGINT", whole, "to DOUBLE", real)
print("Polars", by_polars, "pandas", by_pandas.tolist())
taken = whole == [123, 123, 123, 20240102] == real and kind == "VARCHAR"
sys.exit(0 if taken and by_polars == [None] * 4 and by_pandas.isna().all() else 1)
PYTHON
cd "$folder" && "$folder/venv/bin/python" codes.py
