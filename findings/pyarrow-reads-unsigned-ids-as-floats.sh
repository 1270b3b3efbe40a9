#!/usr/bin/env bash
# pyarrow 26.0.1 (pyarrow.csv and pyarrow.json), beside pandas 3.1.1, polars 2.1.0 and duckdb 2.0.1: a column of ids in which one
# id is 2^63 or more is read as float64, of which neighboring values are 2,048 apart there. Ids of 64 bits without a sign, as
# hash functions and ClickHouse's UInt64 give, lose their last three or four digits, and users whose ids are near one
# another become one user, without an error or a warning.
#
# A good guess: a whole number that does not fit int64 is read as uint64, as pandas does, as a wider integer, as Polars and DuckDB
# do, or as text. Of 20 users with ids 100 apart 2 are left. pandas.read_csv(engine="pyarrow") passes the floats on, though
# its default engine reads the same file right. Of 1,000 random ids 993 are changed, those below 2^63 as well,
# so a join with a table that has the right ids finds almost none.
#
# Exits 0 while this is so, 1 when pyarrow behaves otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  pyarrow==26.0.1 pandas==3.1.1 polars==2.1.0 duckdb==2.0.1 numpy==2.4.6
cat > "$folder/ids.py" <<'PYTHON'
import sys

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.csv
import pyarrow.json

print("pyarrow", pa.__version__, "pandas", pd.__version__, "polars", pl.__version__, "duckdb", duckdb.__version__)
near = [12_345_678_901_234_567_890 + 100 * user for user in range(20)]
spread = [int(each) for each in np.random.default_rng(0).integers(0, 2**64, 1000, dtype=np.uint64)]


def read_all(ids):
    with open("log.csv", "w") as file:
        file.write("user,item\n" + "".join(f"{user},7\n" for user in ids))
    with open("log.json", "w") as file:
        file.write("".join(f'{{"user": {user}, "item": 7}}\n' for user in ids))
    return {
        "pyarrow.csv": pyarrow.csv.read_csv("log.csv")["user"].to_pylist(),
        "pyarrow.json": pyarrow.json.read_json("log.json")["user"].to_pylist(),
        "pandas, engine pyarrow": pd.read_csv("log.csv", engine="pyarrow")["user"].tolist(),
        "pandas": pd.read_csv("log.csv")["user"].tolist(),
        "polars": pl.read_csv("log.csv")["user"].to_list(),
        "duckdb": [row[0] for row in duckdb.sql("FROM read_csv('log.csv')").fetchall()],
    }


found = {}
for name, users in read_all(near).items():
    found[name] = [type(users[0]).__name__, len(set(users))]
for name, users in read_all(spread).items():
    # A float is compared with the digits in the file: int() of it is the exact value that was read.
    found[name].append(sum(int(read) == user for read, user in zip(users, spread, strict=True)))
for name, (kind, distinct, kept) in found.items():
    print(f"{name:23} {kind:5}  20 ids 100 apart: {distinct:2} users   of 1,000 random ids unchanged: {kept}")
lost = all(found[name][0] == "float" and found[name][1] == 2 and found[name][2] < 10 for name in list(found)[:3])
right = all(found[name] == ["int", 20, 1000] for name in list(found)[3:])
sys.exit(0 if lost and right else 1)
PYTHON
cd "$folder" && "$folder/venv/bin/python" ids.py
