"""A local Spark session for benchmarks, and matrices as Spark data frames."""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from leanrec.types import CSR

JAVA = (17, 21)


def start_session(threads: int, memory: str = "6g") -> Any:
    """Start a local session with one worker and one partition per thread, without its web interface."""
    from pyspark.sql import SparkSession

    require_java()
    builder = SparkSession.builder.master(f"local[{threads}]").appName("leanrec benchmarks")
    options = {
        "spark.driver.memory": memory,
        "spark.driver.host": "localhost",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.sql.shuffle.partitions": threads,
        "spark.default.parallelism": threads,
    }
    for name, value in options.items():
        builder = builder.config(name, value)
    found = builder.getOrCreate()
    found.sparkContext.setLogLevel("ERROR")
    return found


def to_spark_frame(spark: Any, X: CSR) -> Any:
    """(user, item, weight) rows of X, cached and counted, so that reading them is not timed."""
    entries = X.tocoo()
    user, item = (each.astype(np.int32) for each in entries.coords)
    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as con:
        file = Path(folder, "rows.parquet")
        con.register("entries", {"user": user, "item": item, "weight": entries.data})
        con.execute(f"COPY entries TO '{file}' (FORMAT parquet)")
        rows = spark.read.parquet(str(file)).cache()
        rows.count()
    return rows


def collect_vectors(factors: Any, rows: int, width: int) -> np.ndarray:
    """(rows, width) float32 of Spark's (id, features) frame; zeros for missing ids."""
    found = np.zeros((rows, width), np.float32)
    for each in factors.collect():
        found[each["id"]] = each["features"]
    return found


def require_java() -> None:
    """Raise RuntimeError where there is no Java that Spark runs on; JAVA_HOME chooses one."""
    home = os.environ.get("JAVA_HOME")
    java = os.path.join(home, "bin", "java") if home else shutil.which("java")  # noqa: PTH118 - it may not be there
    output = ""
    if java and shutil.which(java):
        output = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    found = re.search(r'version "(\d+)', output)
    if found is None or int(found[1]) not in JAVA:
        came = f"Java {found[1]}" if found else "none"
        raise RuntimeError(
            f"Spark needs Java {' or '.join(map(str, JAVA))}; JAVA_HOME or the path leads to {came}. "
            "Install one, such as the package openjdk-17-jre-headless, or set JAVA_HOME."
        )
