"""A real OpenSSH server on the loopback, run as the current user with keys of its own."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
_WAIT_S = 10.0

needs_sshd = pytest.mark.skipif(
    SSHD is None or shutil.which("ssh") is None,
    reason="there is no OpenSSH server on this machine (Debian: apt-get install openssh-server)",
)


class Server:
    """A running server, and what a client needs to reach it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.remote = folder / "remote"
        self.remote.mkdir()
        self.port = _free_port()
        for name in ("host", "user", "stranger", "other_host"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
        shutil.copy(folder / "user.pub", folder / "authorized_keys")
        self.know(folder / "host.pub")
        self.config("user")
        self.process = self._start()

    def spec(self, **values: object) -> str:
        """The server as a device."""
        given = {"config": self.folder / "ssh_config", "python": sys.executable, "folder": self.remote} | values
        query = "&".join(f"{key}={value}" for key, value in given.items())
        return f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}?{query}"

    def know(self, key: Path | None) -> None:
        """Make the client know the host by this key only."""
        line = "" if key is None else f"[127.0.0.1]:{self.port} {key.read_text()}"
        (self.folder / "known_hosts").write_text(line)

    def config(self, key: str) -> None:
        """Have the client use this key only."""
        (self.folder / "ssh_config").write_text(
            f"IdentityFile {self.folder / key}\nIdentitiesOnly yes\nIdentityAgent none\n"
            f"UserKnownHostsFile {self.folder / 'known_hosts'}\nGlobalKnownHostsFile /dev/null\n"
        )

    def script(self, name: str, text: str) -> Path:
        """Write a program that stands for the remote Python."""
        path = self.folder / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return path

    def children(self) -> list[int]:
        """The server's processes that serve a connection."""
        return _children(self.process.pid)

    def cut(self) -> int:
        """Kill the server's processes that serve a connection; return how many there were."""
        children = self.children()
        for child in children:
            os.kill(child, signal.SIGKILL)
        return len(children)

    def left(self) -> list[str]:
        """What lies in the remote folder, once the runners had time to tidy up."""
        end = time.monotonic() + _WAIT_S
        while (names := [path.name for path in self.remote.iterdir()]) and time.monotonic() < end:
            time.sleep(0.05)
        return names

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()

    def _start(self) -> subprocess.Popen[bytes]:
        config = self.folder / "sshd_config"
        config.write_text(
            f"ListenAddress 127.0.0.1\nPort {self.port}\nHostKey {self.folder / 'host'}\n"
            f"AuthorizedKeysFile {self.folder / 'authorized_keys'}\nPidFile none\nStrictModes no\nUsePAM no\n"
            "PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\nMaxStartups 100\n"
        )
        # sshd refuses to start without the folder that it would confine itself to.
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        log = (self.folder / "sshd.log").open("wb")
        assert SSHD is not None
        process = subprocess.Popen([SSHD, "-D", "-e", "-f", config], stdout=log, stderr=log)
        end = time.monotonic() + _WAIT_S
        while time.monotonic() < end and process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return process
            time.sleep(0.02)
        process.kill()
        pytest.fail(f"sshd does not start: {(self.folder / 'sshd.log').read_text()}")


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """Run a server for a while."""
    folder.mkdir(parents=True, exist_ok=True)
    server = Server(folder)
    try:
        yield server
    finally:
        server.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _children(pid: int) -> list[int]:
    lists = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in lists.split()]
