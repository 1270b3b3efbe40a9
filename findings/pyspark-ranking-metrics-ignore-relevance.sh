#!/usr/bin/env bash
# pyspark 4.3.0 (pyspark.mllib.evaluation.RankingMetrics) with Java 17, numpy 2.4.6: ndcgAt ignores the relevance values. The
# documentation of the class says that triples (predicted ranking, ground truth set, relevance values) are taken "since
# 3.4.0, it supports ndcg evaluation with relevance value". They are taken, and the result is the NDCG without them.
#
# A good guess: a list that puts the item of relevance 1 above the item of relevance 10 has an NDCG below 1. With gains of
# 2^relevance - 1 it is (1 + 1023 / log2(3)) / (1023 + 1 / log2(3)) = 0.6315, and with gains of the relevance itself 0.6876.
# It is 1.0, as for the perfect list, in whatever order the ground truth is given, without an error or a warning.
#
# Exits 0 while this is so, 1 when pyspark behaves otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check pyspark==4.3.0 numpy==2.4.6
cat > "$folder/relevance.py" <<'PYTHON'
import math
import sys

import pyspark
from pyspark.mllib.evaluation import RankingMetrics
from pyspark.sql import SparkSession

builder = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false")
spark = builder.config("spark.driver.bindAddress", "127.0.0.1").config("spark.driver.host", "127.0.0.1").getOrCreate()
spark.sparkContext.setLogLevel("ERROR")
print("pyspark", pyspark.__version__)


def ndcg(shown, *truth):
    return RankingMetrics(spark.sparkContext.parallelize([(shown, *truth)], 1)).ndcgAt(len(shown))


guess = (1 + 1023 / math.log2(3)) / (1023 + 1 / math.log2(3))
falling = ndcg([2, 1], [1, 2], [10.0, 1.0])
rising = ndcg([2, 1], [2, 1], [1.0, 10.0])
perfect = ndcg([1, 2], [1, 2], [10.0, 1.0])
# Item 3, at the end of the list, is worth 10; items 1 and 2 are worth 1.
long = ndcg([1, 2, 8, 9, 3], [3, 1, 2], [10.0, 1.0, 1.0]), ndcg([1, 2, 8, 9, 3], [3, 1, 2])
miss = ndcg([1, 2, 8], [3, 1, 2], [10.0, 1.0, 1.0]), ndcg([1, 2, 8], [3, 1, 2])
print(f"relevance 10 below relevance 1: {falling:.4f}, truth the other way round: {rising:.4f} (by hand {guess:.4f})")
print(f"relevance 10 above relevance 1: {perfect:.4f}")
print(f"relevance 10 at place 5: {long[0]:.4f}, without relevance values: {long[1]:.4f}")
print(f"relevance 10 not listed: {miss[0]:.4f}, without relevance values: {miss[1]:.4f}")
spark.stop()
ignored = falling == rising == perfect == 1.0 and long[0] == long[1] and miss[0] == miss[1]
sys.exit(0 if ignored and 0.5 < miss[0] < 1 else 1)
PYTHON
PYSPARK_PYTHON="$folder/venv/bin/python" "$folder/venv/bin/python" -W ignore "$folder/relevance.py" 2>"$folder/log" ||
  { code=$?; tail -5 "$folder/log" >&2; exit "$code"; }
