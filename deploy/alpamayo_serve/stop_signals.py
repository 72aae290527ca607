"""The signals that end the launcher. They wait until they are asked for, so that none comes between two steps."""

import signal

STOP_SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}


def block_signals() -> None:
    """From here on, signals wait for wait_for_stop(). SIGHUP stays as it is under nohup."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _awaited())


def unblock_signals() -> None:
    """In a process that is about to become another program."""
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def wait_for_stop(timeout_s: float) -> bool:
    """Whether a stop signal came within that time; returns early, too, when a child ends (SIGCHLD)."""
    received = signal.sigtimedwait(_awaited(), timeout_s)
    return received is not None and received.si_signo in STOP_SIGNALS


def _awaited() -> set[signal.Signals]:
    ignored = {signal.SIGHUP} if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else set()
    return STOP_SIGNALS - ignored | {signal.SIGCHLD}
