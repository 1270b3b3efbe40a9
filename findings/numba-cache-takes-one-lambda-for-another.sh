#!/usr/bin/env bash
# Numba 0.68.1, numpy 2.4.6: with cache=True, two functions that begin on one line are distinguished by their name, line and
# operations alone. The constants and the names that they use are not in the key of the cache. So two lambdas on one line
# that differ in a number, or in the function they call, are one function: the second returns the values of the first,
# in the same process, from an empty cache, without a warning.
#
# A good guess: each njit call compiles the function it is given. Here a half-life of 30 days silently becomes one of 7,
# and log10 becomes log2. Without cache=True, or on two lines, the values are right.
#
# Exits 0 while this is so, 1 when Numba behaves otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check numba==0.68.1 numpy==2.4.6
cat > "$folder/decay.py" <<'PYTHON'
import sys

import numba
import numpy as np

week, month = numba.njit(cache=True)(lambda age: 0.5 ** (age / 7)), numba.njit(cache=True)(lambda age: 0.5 ** (age / 30))
log2, log10 = numba.njit(cache=True)(lambda x: np.log2(x)), numba.njit(cache=True)(lambda x: np.log10(x))
uncached = numba.njit(lambda age: 0.5 ** (age / 7)), numba.njit(lambda age: 0.5 ** (age / 30))
week_alone = numba.njit(cache=True)(lambda age: 0.5 ** (age / 7))
month_alone = numba.njit(cache=True)(lambda age: 0.5 ** (age / 30))

print("numba", numba.__version__, "numpy", np.__version__)
print(f"half-life of 7 and 30 days, age 30, in Python:   {week.py_func(30.0):.4f} {month.py_func(30.0):.4f}")
print(f"compiled, no cache, one line:                    {uncached[0](30.0):.4f} {uncached[1](30.0):.4f}")
print(f"compiled, cache=True, two lines:                 {week_alone(30.0):.4f} {month_alone(30.0):.4f}")
print(f"compiled, cache=True, one line:                  {week(30.0):.4f} {month(30.0):.4f}")
print(f"log2 and log10 of 1000, cache=True, one line:    {log2(1000.0):.4f} {log10(1000.0):.4f}")
right = abs(month_alone(30.0) - 0.5) < 1e-9 and abs(uncached[1](30.0) - 0.5) < 1e-9
wrong = month(30.0) == week(30.0) and log10(1000.0) == log2(1000.0)
sys.exit(0 if right and wrong else 1)
PYTHON
NUMBA_CACHE_DIR="$folder/cache" "$folder/venv/bin/python" "$folder/decay.py"
