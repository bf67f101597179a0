"""Endpoints: `unix:///PATH`, and what can be wrong with a socket path before and while it is used."""

from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path
from typing import Final

from volsched.errors import InputError, UnsupportedError

# sockaddr_un.sun_path of Linux has 108 bytes, the last of them zero.
SOCKET_PATH_BYTES_MAX: Final = 107


def socket_path(endpoint: str) -> Path:
    """The absolute path of an endpoint. Raises InputError, one line."""
    scheme, colon, rest = endpoint.partition(":")
    if colon and "/" not in scheme:
        if scheme != "unix":
            raise UnsupportedError(f"endpoint {endpoint}: only unix sockets are served; write unix:///PATH")
        path = rest.removeprefix("//") if rest.startswith("//") else rest
    else:
        path = endpoint
    if not path or "\0" in path:
        raise InputError(f"endpoint {endpoint!r} names no path; write unix:///PATH")
    absolute = Path(path).absolute()
    length = len(os.fsencode(absolute))
    if length > SOCKET_PATH_BYTES_MAX:
        raise InputError(
            f"endpoint {endpoint}: the socket path has {length} bytes, a unix socket takes {SOCKET_PATH_BYTES_MAX}; use a shorter one"
        )
    return absolute


def why_unreachable(path: Path) -> str | None:
    """Why nothing can be reached at a socket path, in words; None if a server takes connections there."""
    try:
        if not stat.S_ISSOCK(path.stat().st_mode):
            return "it is not a socket"
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(1.0)
            probe.connect(str(path))
    except FileNotFoundError:
        return "there is no such socket; is the driver running?"
    except ConnectionRefusedError:
        return "the socket is there, but no driver listens on it"
    except PermissionError:
        return "the socket may not be used by this user"
    except TimeoutError:
        return "the driver does not take connections"
    except OSError as error:
        if error.errno == errno.EAGAIN:
            return "the driver takes no more connections now"
        return error.strerror or str(error)
    return None


def claim(path: Path) -> None:
    """Make way for a new socket: remove one that a dead server left, refuse one in use and anything that is no socket."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        if not path.parent.is_dir():
            raise InputError(f"socket {path}: the directory {path.parent} does not exist") from None
        return
    except OSError as error:
        raise InputError(f"socket {path}: {error.strerror}") from error
    if not stat.S_ISSOCK(mode):
        raise InputError(f"socket {path}: a file that is no socket is in the way; remove it or name another path")
    if why_unreachable(path) is None:
        raise InputError(f"socket {path} is in use by a running server; stop it or name another path")
    path.unlink(missing_ok=True)
