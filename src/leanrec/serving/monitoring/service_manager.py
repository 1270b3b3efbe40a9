"""Messages to a service manager such as systemd: that the server is ready, works, or stops (``sd_notify``)."""

import contextlib
import os
import socket
import sys

__all__ = ["notify_manager", "tell_alive"]


def notify_manager(state: str) -> bool:
    """Send a state to the service manager, if there is one that waits for it; returns whether it was sent.

    Args:
        state: lines such as ``READY=1``, ``STATUS=…``, ``STOPPING=1`` and ``WATCHDOG=1``.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if sys.platform == "win32" or not address:
        return False
    if address.startswith("@"):  # in the abstract namespace of Linux
        address = f"\0{address[1:]}"
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.setblocking(False)  # noqa: FBT003 - the name says it
        manager.sendto(state.encode(), address)
        return True
    return False


def tell_alive() -> None:
    """Tell the service manager that the server works, if it restarts one that does not say so. To be called about every second."""
    if os.environ.get("WATCHDOG_USEC") and os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid()):
        notify_manager("WATCHDOG=1")
