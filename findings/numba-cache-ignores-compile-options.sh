#!/usr/bin/env bash
# Numba 0.68.1, numpy 2.4.6: the on-disk cache (cache=True) does not know the options of njit. Of one function compiled
# twice with different options, the version that is called first is stored, and the other one is loaded from it, in the
# same process and in every later one, without a warning. With error_model this changes results, not only speed.
#
# A good guess: njit(error_model="python") raises ZeroDivisionError for clicks / views without views, and
# njit(error_model="numpy") gives nan. With cache=True both do whatever the first one of them did, and the order of two
# calls, or an earlier run of another script, decides which.
#
# Exits 0 while this is so, 1 when Numba behaves otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check numba==0.68.1 numpy==2.4.6
cat > "$folder/rates.py" <<'PYTHON'
import sys

import numba
import numpy as np


def click_rates(clicks, views):
    rates = np.empty(len(clicks))
    for i in range(len(clicks)):
        rates[i] = clicks[i] / views[i]
    return rates


cached = sys.argv[1] == "cached"
versions = {model: numba.njit(cache=cached, error_model=model)(click_rates) for model in ("python", "numpy")}
for model in sys.argv[2:]:
    try:
        result = versions[model](np.array([1.0, 0.0]), np.array([2.0, 0.0])).tolist()
    except ZeroDivisionError:
        result = "ZeroDivisionError"
    print(f"{model}: {result}", end="   ")
print()
PYTHON
run() { NUMBA_CACHE_DIR="$folder/$1" "$folder/venv/bin/python" "$folder/rates.py" "${@:2}" | sed 's/ *$//'; }
"$folder/venv/bin/python" -c 'import numba, numpy; print("numba", numba.__version__, "numpy", numpy.__version__)'
plain=$(run none plain python numpy)
numpy_first=$(run one cached numpy python)
python_first=$(run two cached python numpy)
later=$(run one cached python)
echo "no cache:                        $plain"
echo "cached, numpy called first:      $numpy_first"
echo "cached, python called first:     $python_first"
echo "a later process, only python:    $later"
[ "$plain" = "python: ZeroDivisionError   numpy: [0.5, nan]" ] &&
  [ "$numpy_first" = "numpy: [0.5, nan]   python: [0.5, nan]" ] &&
  [ "$python_first" = "python: ZeroDivisionError   numpy: ZeroDivisionError" ] &&
  [ "$later" = "python: [0.5, nan]" ]
