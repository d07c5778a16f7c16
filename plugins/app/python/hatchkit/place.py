# SPDX-License-Identifier: MIT
"""Where sockets are: $HATCH_DIR, else /run/hatch-app, else /tmp/hatch-app-<uid>; one `<pid>.sock` for each process."""
import errno
import os
import re
import socket
import stat

SHARED = "/run/hatch-app"
SOCKET_NAME = re.compile(r"[1-9][0-9]{0,9}\.sock")
MAX_ENTRIES = 4096


def private_folder():
    return "/tmp/hatch-app-%d" % os.geteuid()


def candidates():
    """Folders to look into, in order; those that are not there, too."""
    configured = os.environ.get("HATCH_DIR")
    return [configured] if configured else [SHARED, private_folder()]


def own_folder():
    """The folder for this process, made when it is missing. OSError says what is wrong with it."""
    configured = os.environ.get("HATCH_DIR")
    if configured:
        if not os.path.isabs(configured):
            raise OSError(errno.EINVAL, "HATCH_DIR is not an absolute path", configured)
        try:
            os.mkdir(configured, 0o700)
        except FileExistsError:
            pass
        return configured
    if os.path.isdir(SHARED) and os.access(SHARED, os.W_OK | os.X_OK):
        return SHARED
    folder = private_folder()
    try:
        os.mkdir(folder, 0o700)
    except FileExistsError:
        # /tmp is everybody's: somebody may have made it first, with a link or an open door.
        info = os.lstat(folder)
        if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.geteuid():
            raise OSError(errno.EPERM, "is not a folder of this user", folder) from None
        if stat.S_IMODE(info.st_mode) & 0o077:
            os.chmod(folder, 0o700)
    return folder


def is_private(folder):
    """Only this user may enter it (and root, and who may read every file of the machine)."""
    info = os.stat(folder)
    return info.st_uid == os.geteuid() and stat.S_IMODE(info.st_mode) & 0o077 == 0


def is_alive(path):
    """Whether somebody listens. A socket file stays when its process is killed; connecting to it is then refused."""
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    probe.setblocking(False)
    try:
        probe.connect(path)
    except BlockingIOError:
        return True  # its queue is full: it is there, and does not answer
    except (ConnectionRefusedError, FileNotFoundError):
        return False
    except OSError:
        return True  # not ours to judge
    finally:
        probe.close()
    return True


def sockets(folder):
    """Paths of all sockets in a folder, alive or not."""
    found = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if SOCKET_NAME.fullmatch(entry.name) and stat.S_ISSOCK(entry.stat(follow_symlinks=False).st_mode):
                    found.append(entry.path)
                    if len(found) >= MAX_ENTRIES:
                        break
    except OSError:
        pass
    return sorted(found, key=lambda path: int(os.path.basename(path)[:-5]))


def remove_stale(folder):
    """Removes what dead processes of this user left behind."""
    for path in sockets(folder):
        try:
            if os.lstat(path).st_uid == os.geteuid() and not is_alive(path):
                os.unlink(path)
        except OSError:
            pass  # gone already, or not ours
