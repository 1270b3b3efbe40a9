"""Unique ids differ: in one thread, in several, and in processes that were forked."""

import random
import subprocess
import sys
import threading

from leanrec.pipeline.lists.unique_ids import make_id


def test_ids_are_random_digits() -> None:
    ids = [make_id() for _ in range(2_000)]
    assert len(set(ids)) == 2_000
    assert {len(each) for each in ids} == {32}
    assert set("".join(ids)) == set("0123456789abcdef")


def test_ids_do_not_depend_on_the_seed_of_the_program() -> None:
    random.seed(0)
    first = make_id()
    random.seed(0)
    assert make_id() != first


def test_threads_get_different_ids() -> None:
    made: list[str] = []
    threads = [threading.Thread(target=lambda: made.extend(make_id() for _ in range(3_000))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 12_000


def test_a_forked_process_gets_other_ids() -> None:
    script = """
import os
from leanrec.pipeline.lists.unique_ids import make_id
make_id()  # so that there are others that wait
child = os.fork()
if child:  # one after the other, or their lines mix in the pipe
    os.waitpid(child, 0)
print(*[make_id() for _ in range(300)], flush=True)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert len(set(done.stdout.split())) == 600
