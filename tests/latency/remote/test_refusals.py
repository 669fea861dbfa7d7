"""What can be wrong with a host, its keys, its Python and its disk, and what is said of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxprune.errors import DeviceError
from onnxprune.latency import MeasureOptions, choose, opened
from onnxprune.latency.remote.process import swept
from tests.latency.models import FEEDS, one_op
from tests.latency.remote.asking import SHORT, measure, refusal
from tests.latency.remote.server import Server, needs_sshd

pytestmark = needs_sshd
MODELS = Path(__file__).parents[3] / "models"


def test_an_unknown_host_is_refused_with_its_key(server: Server) -> None:
    server.know(None)
    told = subprocess.run(
        ["ssh-keygen", "-lf", server.folder / "host.pub"], capture_output=True, text=True, check=True
    ).stdout.split()[1]
    message = refusal(server.spec())
    assert f"its host key is unknown; it shows ssh-ed25519 {told}" in message
    assert f"connecting once by hand: ssh -F {server.folder / 'ssh_config'} -p {server.port} " in message


def test_a_host_whose_key_changed_is_refused(server: Server) -> None:
    server.know(server.folder / "other_host.pub")
    message = refusal(server.spec())
    assert "its host key is not the one known; somebody may be in between" in message
    assert f"(ssh-keygen -f {server.folder / 'known_hosts'} -R '[127.0.0.1]:{server.port}')" in message


def test_a_key_that_is_not_accepted(server: Server) -> None:
    server.config("stranger")
    assert "it accepts none of the keys" in refusal(server.spec())


def test_a_key_that_others_can_read(server: Server) -> None:
    (server.folder / "user").chmod(0o644)
    assert f"that others can read; let only yourself read it: chmod 600 {server.folder / 'user'}" in refusal(
        server.spec()
    )


def test_a_host_that_does_not_answer(server: Server) -> None:
    server.stop()
    message = refusal(server.spec())
    assert "cannot be reached: " in message
    assert "Connection refused; is the port right, and does an SSH server run there? 'ssh -F " in message


def test_a_server_that_hangs_up_at_first_is_asked_again(server: Server) -> None:
    through_bash = f"exec 3<>/dev/tcp/127.0.0.1/{server.port}; cat <&3 & cat >&3"
    proxy = server.script("proxy", f"mkdir {server.folder}/hung_up 2>/dev/null && exit; exec bash -c '{through_bash}'")
    with (server.folder / "ssh_config").open("a") as config:
        config.write(f"ProxyCommand {proxy}\n")
    measure(server.spec())
    assert (server.folder / "hung_up").is_dir()


def test_a_server_that_always_hangs_up(server: Server) -> None:
    proxy = server.script("proxy", f"echo >> {server.folder}/asked")
    with (server.folder / "ssh_config").open("a") as config:
        config.write(f"ProxyCommand {proxy}\n")
    assert "cannot be reached: " in refusal(server.spec())
    assert len((server.folder / "asked").read_text()) == 3


def test_no_python_there(server: Server) -> None:
    message = refusal(server.spec(python="/nowhere/python3"))
    assert "there is no Python called '/nowhere/python3' there" in message
    assert "?python=/path/to/python" in message


def test_a_program_that_is_no_python(server: Server) -> None:
    message = refusal(server.spec(python="/bin/ls"))
    assert "'/bin/ls' does not run as a Python there (exit code 2): " in message
    assert len(message) < 500


def test_no_onnxruntime_there(server: Server) -> None:
    package = server.folder / "without"
    package.mkdir()
    (package / "onnxruntime.py").write_text("raise ImportError('No module named onnxruntime')")
    python = server.script("python", f'PYTHONPATH={package} exec {sys.executable} "$@"')
    message = refusal(server.spec(python=python))
    assert "lacks what measuring needs (No module named onnxruntime)" in message
    assert "-m pip install numpy onnxruntime'; where that is refused, in an environment of its own" in message


def test_a_python_that_is_too_old(server: Server) -> None:
    older = "import sys; sys.version_info = (3, 7, 0); sys.version = '3.7.0 (old)'; exec(sys.argv[3])"
    python = server.script("python", f'exec {sys.executable} -c "{older}" "$@"')
    assert "is Python 3.7.0; 3.8 or newer is needed" in refusal(server.spec(python=python))


def test_what_the_shell_says_first_is_passed_over(server: Server) -> None:
    python = server.script("python", f'echo welcome; echo "{{}}" >&2; exec {sys.executable} "$@"')
    measure(server.spec(python=python))


@pytest.mark.parametrize("said", ["{ hello }", "{", "{}", '{"error": "none"}', "[1]", "\\377"])
def test_what_the_shell_says_may_look_like_an_answer(server: Server, said: str) -> None:
    python = server.script("python", f"printf '{said}\\n'; exec {sys.executable} \"$@\"")
    with opened(choose(server.spec(python=python))[0]) as device:
        assert device.fingerprint(SHORT)["onnxruntime"]


def test_a_folder_that_is_not_there(server: Server) -> None:
    message = refusal(server.spec(folder=server.folder / "none"))
    assert "cannot make a folder there" in message
    assert "?folder=PATH" in message


def test_a_folder_below_the_home_there(server: Server) -> None:
    python = server.script("python", f'HOME={server.folder} exec {sys.executable} "$@"')
    measure(server.spec(folder="~/remote", python=python))
    assert server.left() == []
    # What is killed is swept from there, too.
    (server.remote / "onnxprune-left").mkdir()
    target = choose(server.spec(folder="~/remote", python=python))[0].target
    assert target is not None
    assert swept(target, [{"pid": 0, "folder": str(server.remote / "onnxprune-left")}], 60)
    assert server.left() == []


def test_a_model_and_a_provider_that_do_not_run_there_are_named(server: Server) -> None:
    with opened(choose(server.spec())[0]) as device:
        with pytest.raises(DeviceError, match=r"onnxruntime [\d.]+ cannot load model 'odd' on CPU.* there: .*NoSuchOp"):
            device.measure({"odd": one_op("NoSuchOp")}, {"odd": FEEDS}, SHORT)
        with pytest.raises(DeviceError, match=r"no provider 'coreml'; it has .*CPUExecutionProvider; take"):
            device.measure({"a": one_op()}, {"a": FEEDS}, MeasureOptions(provider="coreml"))
        with pytest.raises(DeviceError, match="cannot run model 'a'"):
            device.measure({"a": one_op()}, {"a": {"x": np.ones((1, 5), np.float32)}}, SHORT)
        with pytest.raises(DeviceError, match="no inputs were given for model 'a'"):
            device.measure({"a": one_op()}, {}, SHORT)
        # A refusal leaves the connection as it was.
        assert device.measure({"a": one_op()}, {"a": FEEDS}, SHORT)["a"].runs == 12
    assert server.left() == []


def test_an_onnxruntime_older_than_the_model(server: Server) -> None:
    model = onnx.load_from_string(one_op())
    model.ir_version = 99
    with opened(choose(server.spec())[0]) as device, pytest.raises(DeviceError) as refused:
        device.measure({"late": model.SerializeToString()}, {"late": FEEDS}, SHORT)
    message = str(refused.value)
    assert "there is older than model 'late' needs (IR version 99; it knows up to " in message
    assert f"'{sys.executable} -m pip install --upgrade onnxruntime'" in message


def test_no_space_there(server: Server) -> None:
    # A limit on the size of files stands for a full disk.
    python = server.script("python", f'ulimit -f 1; exec {sys.executable} -B "$@"')
    big = MODELS / "fashion-resnet20.onnx"
    with opened(choose(server.spec(python=python))[0]) as device, pytest.raises(DeviceError) as refused:
        device.measure({"big": big}, {"big": {"image": np.zeros((1, 1, 28, 28), np.float32)}}, SHORT)
    assert f"there is no space left in {server.remote}; name another folder with ?folder=PATH" in str(refused.value)
    assert server.left() == []
