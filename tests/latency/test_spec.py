"""Devices as they are written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from onnxprune.errors import ArgumentError, ConfigError, DeviceError
from onnxprune.latency import MeasureOptions, choose, read_spec
from onnxprune.latency.remote import Target, ssh


@pytest.mark.parametrize(
    ("host", "port", "name"),
    [
        ("[fe80::1]", 2222, "'[fe80::1]:2222'"),
        ("[fe80::1]", None, "fe80::1"),
        ("[fe80::1]", 22, "fe80::1"),
        ("pi.local", 2222, "'[pi.local]:2222'"),
        ("pi.local", None, "pi.local"),
    ],
)
def test_a_changed_host_key_is_forgotten_by_the_name_that_ssh_knows(
    monkeypatch: pytest.MonkeyPatch, host: str, port: int | None, name: str
) -> None:
    # It would ask the host.
    monkeypatch.setattr(ssh, "_host_key", lambda _: "a key")
    said = "WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!\nHost key verification failed.\n"
    assert f"(ssh-keygen -R {name})" in str(ssh.failure(Target(host, port=port), 255, said))


def test_options_of_a_provider_need_one() -> None:
    with pytest.raises(DeviceError, match="gives options of a provider, but the CPU's takes none"):
        choose("local?provider.device_id=1")
    assert choose("local?provider.device_id=1", provider="cuda")[1].provider_options == (("device_id", "1"),)


def test_this_machine() -> None:
    spec = read_spec("local?provider=CUDA&threads=4&provider.device_id=1")
    assert (spec.target, spec.provider, spec.threads) == (None, "CUDA", 4)
    assert spec.provider_options == (("device_id", "1"),)


def test_another_machine(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.touch()
    spec = read_spec(
        f"ssh://pi@host:22?python=~/venv/bin/python&provider=XNNPACK&threads=2&folder=/mnt/a%26b&config={config}&timeout=9"
    )
    assert spec.target == Target("host", "pi", 22, "~/venv/bin/python", "/mnt/a&b", str(config), 9.0)
    assert (spec.provider, spec.threads) == ("XNNPACK", 2)
    assert read_spec("ssh://Board").target == Target("Board")
    assert read_spec("ssh://[::1]:2222/").target == Target("[::1]", port=2222)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("local?thread=4", "unknown key 'thread'; did you mean 'threads'? known are provider, threads and"),
        ("local?python=x", "unknown key 'python'"),
        ("local?threads=0", "threads must be a whole number of at least 1, not '0'"),
        ("local?threads", "'threads' is no KEY=VALUE"),
        ("local?threads=1&threads=2", "'threads' is given twice"),
        ("local?provider=abacus", "unknown provider 'abacus'"),
        ("ssh://pi:secret@host", "must hold no password"),
        ("ssh://host:port", "port must be a whole number"),
        ("ssh://-oProxyCommand=x", "is no host name"),
        ("ssh://-l@host", "is no user name"),
        ("ssh://", "is no host name"),
        ("ssh://host/path", "cannot be understood; write ssh://user@host:port?key=value"),
        ("http://host", "cannot be understood"),
        ("ssh://host?config=/none", "there is no file '/none'"),
        ("ssh://host?timeout=soon", "timeout must be a whole number"),
    ],
)
def test_what_cannot_be_meant(text: str, message: str) -> None:
    with pytest.raises(DeviceError, match=re.escape(message)) as refused:
        read_spec(text)
    assert "secret" not in str(refused.value)


def test_what_is_said_beside_the_spec() -> None:
    assert choose("local?threads=2", "cuda", None, 3)[1] == MeasureOptions(provider="cuda", threads=2, batch=3)
    assert choose("local", None, 4)[1] == MeasureOptions(threads=4)
    assert choose("local?threads=2&provider=cpu", "cpu", 2)[1] == MeasureOptions(threads=2)
    assert choose("local?provider=CUDA", "CUDAExecutionProvider")[1].full_provider == "CUDAExecutionProvider"
    assert choose("local?provider=CPU", "cpu")[1].full_provider == "CPUExecutionProvider"
    with pytest.raises(ArgumentError, match=r"says provider=cuda, but provider cpu was given too; give one"):
        choose("local?provider=cuda", "cpu")
    with pytest.raises(ArgumentError, match=r"says threads=2, but threads 4 was given too; give one"):
        choose("local?threads=2", None, 4)
    with pytest.raises(ArgumentError, match="says provider=CUDA, but provider cpu"):
        choose("local?provider=CUDA", "cpu")


def write(folder: Path, text: str) -> None:
    (folder / "onnxprune.toml").write_text(text)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    below = tmp_path / "project" / "below"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    return below.parent


def test_devices_by_name(folder: Path) -> None:
    write(folder, '[devices.pi]\nspec = "ssh://pi@host?threads=2"\n[devices.fast]\nspec = "local?threads=4"\n')
    assert read_spec("pi").target == Target("host", "pi")
    assert read_spec("fast").threads == 4
    with pytest.raises(DeviceError, match=r"no device is called 'pie'; did you mean 'pi'\? '.*' names pi, fast"):
        read_spec("pie")
    write(folder / "below", '[devices.near]\nspec = "local"\n')
    assert read_spec("near").target is None


def test_a_relative_ssh_configuration_is_relative_to_the_file(folder: Path) -> None:
    (folder / "ci").mkdir()
    (folder / "ci" / "ssh config").touch()
    write(folder, '[devices.pi]\nspec = "ssh://host?config=ci/ssh%20config&threads=2"\n[compress]\nseed = 1\n')
    target = read_spec("pi").target
    assert target is not None
    assert target.config == str(folder / "ci" / "ssh config")


def test_names_are_guessed_whatever_their_case(folder: Path) -> None:
    write(folder, '[devices.Jetson]\nspec = "local"\n')
    with pytest.raises(DeviceError, match=r"no device is called 'jetson'; did you mean 'Jetson'\? "):
        read_spec("jetson")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '[devices.pi]\nspec = "local"\n[devices.pi]\nspec = "local"\n',
            "line 3: a second device is called 'pi'; give",
        ),
        ('[devices.pi]\nspec = "local"\nspec = "local"\n', "line 3: the key is given twice"),
        ("[prune]\n[prune]\n", "line 2: the table [prune] is there twice"),
        ('[devices.local]\nspec = "ssh://pi@host"\n', "line 1: key 'devices.local': no device can be called so"),
        ('[devices.pi]\nspec = "local"\nthreads = 2\n', "unknown key 'devices.pi.threads'"),
        ('\n[device.pi]\nspec = "local"\n', "line 2: unknown key 'device'"),
        ("[devices.pi]\n", "key 'devices.pi.spec': is missing"),
        ("[devices.pi]\nspec = 3\n", "key 'devices.pi.spec': Input should be a valid string"),
        ('[devices]\npi = "local"\n', "key 'devices.pi': must be a table"),
        ('[devices.pi]\nspec = "other"\n', "line 2: key 'devices.pi.spec': 'other' is neither local nor ssh://..."),
        ('[devices.one]\nspec = "ssh://pi:secret@host"\n', "line 2: key 'devices.one.spec': a device must hold no"),
        ("[devices.pi\n", "is no valid TOML"),
    ],
)
def test_a_file_that_cannot_be_meant(folder: Path, text: str, message: str) -> None:
    write(folder, text)
    with pytest.raises((ConfigError, DeviceError), match=re.escape(message)):
        read_spec("pi")


@pytest.mark.parametrize(
    ("name", "meant"), [("pi", ""), ("lokal", "did you mean 'local'? "), ("pi@host", "did you mean 'ssh://pi@host'? ")]
)
def test_a_name_without_a_file(folder: Path, name: str, meant: str) -> None:
    message = f"'{name}' is neither 'local' nor ssh://...; {meant}there is no onnxprune.toml in"
    with pytest.raises(DeviceError, match=re.escape(message)):
        read_spec(name)


@pytest.mark.parametrize(
    ("device", "threads", "message"),
    [
        ("local", 100_000, r"100000 threads are far more than .* \(its cores: 32\); give at most 128"),
        ("local?threads=129", None, "129 threads are far more"),
        ("ssh://board", 1025, "1025 threads are more than a device has cores for; at most 1024"),
        ("ssh://board?threads=5000", None, "5000 threads are more than a device"),
    ],
)
def test_threads_far_above_the_cores_are_refused(
    monkeypatch: pytest.MonkeyPatch, device: str, threads: int | None, message: str
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 32)
    with pytest.raises(DeviceError, match=message):
        choose(device, threads=threads)


@pytest.mark.parametrize(("device", "cores", "threads"), [("local", 2, 64), ("local", 32, 128), ("ssh://b", 2, 1024)])
def test_threads_above_the_cores_are_not(
    monkeypatch: pytest.MonkeyPatch, device: str, cores: int, threads: int
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    assert choose(device, threads=threads)[1].threads == threads
