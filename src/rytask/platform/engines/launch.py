"""Turn into another program: as another user, and ending when the parent does.

Run by path, as `launch.py PARENT SIGNAL UID GID PROGRAM ARGUMENT…`. It is a program of its own
because a `preexec_fn` would run Python between fork and exec, which deadlocks beside threads.
"""

import ctypes
import os
import signal
import sys

WORKING_DIRECTORY = 100
_PR_SET_PDEATHSIG = 1


def main(parent: int, orphaned: int, uid: int, gid: int, argv: list[str]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # Python ignores this one, and what is ignored stays ignored after exec.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    if os.geteuid() != uid:
        # That user may be unable to follow the path to here, so it gets the directory open.
        os.dup2(os.open(".", os.O_RDONLY), WORKING_DIRECTORY)
        os.chdir("/")
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if sys.platform == "linux":
        # Changing the user clears it, so it comes after; a parent already gone sends nothing.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, orphaned, 0, 0, 0)
        if os.getppid() != parent:
            sys.exit("the parent ended first")
    try:
        os.execv(argv[0], argv)  # noqa: S606 -- there is no shell to want here
    except OSError as error:
        sys.exit(f"cannot run {argv[0]}: {error.strerror}")


if __name__ == "__main__":
    parent, orphaned, uid, gid, *argv = sys.argv[1:]
    main(int(parent), int(orphaned), int(uid), int(gid), argv)
