"""Commands of a server and of what it serves: ``leanrec serve`` and ``leanrec versions``."""
