"""Where an app listens: on a free port of this machine, or the sentence that says why not."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket

from syncdraw.errors import UserError


def is_local(host: str) -> bool:
    """Whether only this machine can reach a host of that name."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name, which may be anybody's
        return False


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Args:
        host: localhost is this machine alone; 0.0.0.0 is every machine that can reach this one.
        port: 0 for any that is free.

    Raises:
        UserError: the port is in use (it names the next that is free) or is none, or the host is not this machine's.
    """
    if not 0 <= port < 1 << 16:
        raise UserError(f"--port is {port}; it must be from 1 to 65535, or 0 for any that is free")
    try:
        return _bound(host, port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UserError(f"port {port} is in use; {_next_free(host, port)}") from None
        if isinstance(error, PermissionError):
            raise UserError(f"port {port} is kept for the system; give --port a number of 1024 or more") from None
        raise UserError(
            f"--host {host} is no address of this machine; localhost always is, and 0.0.0.0 is all"
        ) from None


def _next_free(host: str, port: int) -> str:
    for free in range(port + 1, min(port + 100, 1 << 16)):
        try:
            _bound(host, free).close()
        except OSError:
            continue
        return f"{free} is free: give --port {free}"
    return "so are those after it: give another --port"


def _bound(host: str, port: int) -> socket.socket:
    # localhost as its IPv4 address: what the name stands for differs between machines.
    address = "127.0.0.1" if host == "localhost" else host
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        if os.name == "posix":  # elsewhere this option lets two servers share a port
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((address, port))
        listening.listen()  # of two sockets that are bound, only this tells that one is in use
    except BaseException:
        listening.close()
        raise
    return listening


def link_to(listening: socket.socket, host: str, token: str | None) -> str:
    """The address to give people, with the token where there is one."""
    name = socket.gethostname() if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    return f"http://{name}:{listening.getsockname()[1]}/{token + '/' if token else ''}"
