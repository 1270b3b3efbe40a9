"""``python -m leanrec``: the command, for launchers that start a module, such as ``torchrun -m leanrec``."""

from leanrec.cli import main

if __name__ == "__main__":
    main()
