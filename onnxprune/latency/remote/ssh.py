"""The system's OpenSSH client: its command line, and what its failures mean.

It, and not a library, because it reads `~/.ssh/config`, speaks to the agent, to security keys and jump hosts, and knows
the hosts that the user knows, without a line of code here.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import textwrap
from dataclasses import dataclass

from onnxprune.errors import DeviceError

CONNECT_S = 15
"""Seconds that a connection may take to stand."""

_ALIVE_S, _ALIVE_COUNT = 10, 4
# Of what is passed on of the other side's words.
_LONGEST = 200
_NOT_FOUND, _NOT_EXECUTABLE, _SSH_FAILED = 127, 126, 255
# What ssh says where a server hangs up before the keys are exchanged: one with many connections waiting drops some of
# them at random (MaxStartups in sshd_config).
_HUNG_UP = ("kex_exchange_identification", "banner exchange", "Connection closed by", "Connection reset by")


@dataclass(frozen=True)
class Target:
    """Where to and with which Python; validates itself.

    Attributes:
        host: Name, address, or a Host of `~/.ssh/config`.
        user: Name there; None: what ssh takes.
        port: Port; None: what ssh takes.
        python: Python there, which has numpy and onnxruntime; `~/` is the home there.
        folder: Folder there that the temporary folder is made in; None: the system's.
        config: Configuration file for ssh instead of the user's.
        limit_s: Longest time that one request may take, in seconds.

    Raises:
        DeviceError: A value cannot be used.
    """

    host: str
    user: str | None = None
    port: int | None = None
    python: str = "python3"
    folder: str | None = None
    config: str | None = None
    limit_s: float = 600.0

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_.:%\[\]][A-Za-z0-9_.:%\[\]-]*", self.host):
            raise DeviceError(f"'{self.host}' is no host name; write ssh://user@host")
        if self.user is not None and not re.fullmatch(r"[A-Za-z0-9_.][A-Za-z0-9_.@\\-]*", self.user):
            raise DeviceError(f"'{self.user}' is no user name; write ssh://user@host")
        if not self.limit_s > 0:
            raise DeviceError(f"timeout must be above 0 seconds, not {self.limit_s!r}")

    @property
    def address(self) -> str:
        """user@host:port, as far as they are given."""
        user = f"{self.user}@" if self.user else ""
        return f"{user}{self.host}{f':{self.port}' if self.port else ''}"


def command(target: Target, remote: str, *extra: str) -> list[str]:
    """Return the command line that runs `remote` there.

    It never asks: keys and agent only, and hosts that are known.

    Raises:
        DeviceError: There is no OpenSSH client.
    """
    program = shutil.which("ssh")
    if program is None:
        raise DeviceError("there is no 'ssh' on this machine; install an OpenSSH client (Debian: openssh-client)")
    settings = {
        "BatchMode": "yes",
        "StrictHostKeyChecking": "yes",
        "ConnectTimeout": CONNECT_S,
        "ServerAliveInterval": _ALIVE_S,
        "ServerAliveCountMax": _ALIVE_COUNT,
        # An existing shared connection may serve; ours must end with us.
        "ControlMaster": "no",
        "ClearAllForwardings": "yes",
        "Compression": "no",
    }
    options = [part for name, value in settings.items() for part in ("-o", f"{name}={value}")]
    config = ["-F", target.config] if target.config else []
    user = ["-l", target.user] if target.user else []
    port = ["-p", str(target.port)] if target.port else []
    return [program, "-T", *config, *options, *user, *port, *extra, "--", target.host.strip("[]"), remote]


def remote_python(target: Target, code: str) -> str:
    """Return the command that runs a line of Python there."""
    # Quoted, a tilde would be no home.
    home = "~/" if target.python.startswith("~/") else ""
    return f"exec {home}{shlex.quote(target.python.removeprefix(home))} -u -c {shlex.quote(code)}"


def may_pass(code: int, said: str) -> bool:
    """Say whether a connection that did not come to stand may do so a little later.

    Args:
        code: Exit code of ssh.
        said: What it wrote to standard error.
    """
    # Keys that were refused are not offered again: servers shut out those who try too often.
    answered = any(words in said for words in ("refused", "denied", "verification failed"))
    return code == _SSH_FAILED and not answered and any(words in said for words in _HUNG_UP)


def failure(target: Target, code: int, said: str) -> DeviceError:
    """Say why a connection did not come to stand.

    Args:
        target: Where to.
        code: Exit code of ssh.
        said: What it wrote to standard error.
    """
    where = f"device 'ssh://{target.address}'"
    if code == _NOT_FOUND:
        return DeviceError(
            f"{where}: there is no Python called '{target.python}' there; give its path: "
            f"ssh://{target.address}?python=/path/to/python"
        )
    if code == _NOT_EXECUTABLE:
        return DeviceError(f"{where}: '{target.python}' cannot be executed there; give ?python=/path/to/python")
    if "Host key verification failed" in said or "host key is known" in said:
        return _key_failure(target, said)
    if "Permission denied" in said:
        return _denied(where, said)
    if code == _SSH_FAILED:
        said = _last_line(said) or "the connection was closed"
        return DeviceError(f"{where} cannot be reached: {said}; {_advice(said)}'{_by_hand(target)}' must work by hand")
    return DeviceError(
        f"{where}: '{target.python}' does not run as a Python there (exit code {code}): {_last_line(said)}; give "
        "?python=/path/to/python"
    )


def _denied(where: str, said: str) -> DeviceError:
    if "UNPROTECTED PRIVATE KEY" in said:
        key = re.search(r"Permissions \S+ for '(.+)' are too open", said)
        return DeviceError(
            f"{where}: ssh does not use a key that others can read; let only yourself read it: "
            f"chmod 600 {shlex.quote(key[1]) if key else 'KEY'}"
        )
    return DeviceError(
        f"{where}: it accepts none of the keys ({_last_line(said)}); put yours there with 'ssh-copy-id', or load "
        "it with 'ssh-add'; passwords are not asked for"
    )


def _advice(said: str) -> str:
    if "resolve hostname" in said:
        return "is the name right? "
    if "refused" in said:
        return "is the port right, and does an SSH server run there? "
    if "No user exists" in said:
        return "ssh runs only as a user of /etc/passwd, so in a container as one that it has (root, say); "
    if "timed out" in said or "route" in said or "unreachable" in said:
        return "is it switched on, in this network, and the address right? "
    return ""


def _key_failure(target: Target, said: str) -> DeviceError:
    where, shown = f"device 'ssh://{target.address}'", f"it shows {_host_key(target)}"
    if "HOST IDENTIFICATION HAS CHANGED" in said:
        known = re.search(r"^Offending .* key in (.+):\d+$", said, re.MULTILINE)
        file = f"-f {shlex.quote(known[1])} " if known else ""
        return DeviceError(
            f"{where}: its host key is not the one known; somebody may be in between, or the device was set up anew; "
            f"{shown}. If that is right, forget the old one (ssh-keygen {file}-R {_known_name(target)}) and accept the "
            f"new one by connecting once by hand: {_by_hand(target)}"
        )
    return DeviceError(
        f"{where}: its host key is unknown; {shown}. Compare it with what the device itself says "
        "('ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub' there), and accept it by connecting once by hand: "
        f"{_by_hand(target)}"
    )


def _by_hand(target: Target) -> str:
    config = f"-F {shlex.quote(target.config)} " if target.config else ""
    port = f"-p {target.port} " if target.port else ""
    return f"ssh {config}{port}{f'{target.user}@' if target.user else ''}{target.host.strip('[]')}"


def _known_name(target: Target) -> str:
    """Return the name that a host has among the known ones."""
    # Of an IPv6 address the brackets are the URL's, not the host's.
    host = target.host.strip("[]")
    return shlex.quote(f"[{host}]:{target.port}") if target.port not in (None, 22) else host


def _host_key(target: Target) -> str:
    """Ask ssh what key the host shows; it says so only when it tells everything."""
    try:
        result = subprocess.run(
            command(target, "exit", "-v"),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=CONNECT_S * 2,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return "a key that could not be read"
    match = re.search(r"Server host key: (\S+) (\S+)", result.stderr.decode(errors="replace"))
    return f"{match[1]} {match[2]}" if match else "a key that could not be read"


def _last_line(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return textwrap.shorten(lines[-1], _LONGEST) if lines else ""
