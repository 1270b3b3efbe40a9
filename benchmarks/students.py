"""Students of a fitted sequential model on ML-1M, beside the same students without a teacher.

    python benchmarks/students.py MODEL [--part valid] [--student NAME[,SETTING=VALUE]] [--queries 20000] [--weight 10] [--users 12000]

MODEL is a folder with a saved model that was fitted without the last two items of each user, such as one that
`benchmarks/sequences.py --keep FOLDER` has kept. The teacher is asked about these histories alone. Prints the table and the summary of
``leanrec distill``; times are of CPU.
"""

import argparse

from sequences import read_sequences

import leanrec
from leanrec import artifacts
from leanrec.compression import Distillation
from leanrec.models import parse_model
from leanrec.run import Run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--part", choices=("valid", "test"), default="valid")
    parser.add_argument("--student", default="next_item_regression")
    parser.add_argument("--queries", type=int, default=20_000)
    parser.add_argument("--weight", type=float, default=10.0)
    parser.add_argument("--users", type=int, default=12_000)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    parts = leanrec.split(read_sequences("ml-1m"), "leave-one-out")
    method = Distillation(parse_model(options.student), n_queries=options.queries, weight=options.weight)
    result = leanrec.distill(
        artifacts.load(options.model),
        method,
        parts.train,
        parts.valid if options.part == "valid" else parts.test,
        max_queries=options.users,
        run=Run(threads=options.threads),
    )
    names, rows = result.table()
    for row in (names, *rows):
        print(" | ".join(row))
    print(*result.summary(), sep="\n")


if __name__ == "__main__":
    main()
