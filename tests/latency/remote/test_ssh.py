"""Measuring over a real OpenSSH server on the loopback, and everything that can be wrong with one."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxprune.errors import DeviceError
from onnxprune.graph import load, random_inputs, resolve_input_shapes
from onnxprune.latency import (
    LayerCosts,
    LayerSpec,
    LocalDevice,
    MeasureOptions,
    NumberFormat,
    ProfilingTimer,
    choose,
    opened,
)
from onnxprune.latency.remote.process import RunnerProcess
from onnxprune.latency.remote.recipe import feeds_recipe, recipe
from onnxprune.report import read_report
from tests.cli.conftest import Run, run
from tests.latency.models import FEEDS, endless, one_op
from tests.latency.remote.asking import SHORT, refusal
from tests.latency.remote.server import Server, needs_sshd
from tests.report.conftest import small_cnn

pytestmark = needs_sshd
__all__ = ["run"]

MODELS = Path(__file__).parents[3] / "models"


def test_a_remote_measurement_has_the_form_of_a_local_one(server: Server) -> None:
    spec, options = choose(server.spec(threads=2))
    with opened(spec) as device:
        seen: list[tuple[int, int]] = []
        models, feeds = {"a": one_op(), "b": one_op("Neg")}, {"a": FEEDS, "b": FEEDS}
        result = device.measure(models, feeds, SHORT, lambda *step: seen.append(step))
        assert device.fingerprint(options) == LocalDevice().fingerprint(options)
        assert device.name.startswith("ssh://")
        assert len(list(server.remote.iterdir())) == 1
    assert {name: [len(runs) for runs in stats.samples_ms] for name, stats in result.items()} == {
        "a": [4, 4, 4],
        "b": [4, 4, 4],
    }
    assert all(0 < stats.p50_ms < 1e3 for stats in result.values())
    assert seen == [(2, 6), (4, 6), (6, 6)]
    assert server.left() == []


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_layers_cost_what_they_cost_there_and_the_table_is_that_of_the_hardware(
    server: Server, tmp_path: Path, dtype: NumberFormat
) -> None:
    layer = LayerSpec("Conv", 8, 8, size=(6, 6), kernel=(3, 3), pads=(1, 1, 1, 1), dtype=dtype)
    spec, options = choose(server.spec())
    with opened(spec) as device:
        costs = device.layer_costs(options)
        assert 0 < costs.cost_ms(layer) < 1e3
        costs.save()
        other = device.layer_costs(MeasureOptions(threads=2))
        other.cost_ms(layer)
        other.save()
    # This machine is the same hardware, so its table has the point already.
    timer = ProfilingTimer(options)
    timer.time_ms = lambda _: pytest.fail("it was measured already")  # type: ignore[method-assign]
    assert LayerCosts(timer).cost_ms(layer) == costs.cost_ms(layer)
    assert len(list((tmp_path / "cache").iterdir())) == 2


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_nothing_stays_there_when_the_run_is_ended(server: Server, how: signal.Signals) -> None:
    command = [sys.executable, "-m", "onnxprune", "bench", MODELS / "fashion-resnet20.onnx", "--sessions", "5000"]
    # Programs that are started in the background may be told to ignore Ctrl-C.
    process = subprocess.Popen(
        [*command, "--device", server.spec()],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    )
    end = time.monotonic() + 60
    while not list(server.remote.glob("*/*")) and time.monotonic() < end:
        time.sleep(0.05)
    assert process.poll() is None
    process.send_signal(how)
    _, said = process.communicate(timeout=60)
    assert process.returncode == (-signal.SIGKILL if how == signal.SIGKILL else 130)
    assert b"Traceback" not in said
    assert server.left() == []


def test_a_connection_cut_in_the_middle_is_made_again_and_rounds_are_kept(server: Server) -> None:
    cuts: list[int] = []

    def cut_once(done: int, _: int) -> None:
        if done == 2:
            cuts.append(server.cut())

    with opened(choose(server.spec())[0]) as device:
        result = device.measure({"small": one_op()}, {"small": FEEDS}, SHORT, cut_once)
        assert [len(runs) for runs in result["small"].samples_ms] == [4, 4, 4]
        assert len(cuts) == 1
        assert cuts[0] >= 1
        (note,) = [note for note in device.take_notes() if "lost" in note]
        assert "what was measured kept" in note
        assert device.take_notes() == ()
    assert server.left() == []


def test_a_device_that_does_not_come_back(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxprune.latency.remote.link._PAUSES_S", (0.01, 0.01))

    def end(done: int, _: int) -> None:
        if done == 1:
            children = server.children()
            server.stop()
            for child in children:
                os.kill(child, signal.SIGKILL)

    warned: list[str] = []
    with pytest.raises(DeviceError) as refused, opened(choose(server.spec())[0], warned.append) as device:
        device.measure({"small": one_op()}, {"small": FEEDS}, SHORT, end)
    assert "2 attempts to make it again failed" in str(refused.value)
    assert "'onnxprune resume' goes on" in str(refused.value)
    assert any("a folder onnxprune-* may be left" in note for note in warned)
    assert not any("made again" in note for note in warned)


def test_a_runner_that_is_killed_leaves_nothing_behind(server: Server) -> None:
    pids = server.folder / "pids"
    python = server.script("python", f'echo $$ >> {pids}; exec {sys.executable} "$@"')

    def kill_once(done: int, _: int) -> None:
        if done == 1:
            os.kill(int(pids.read_text().split()[0]), signal.SIGKILL)

    with opened(choose(server.spec(python=python))[0]) as device:
        before = list(server.remote.iterdir())
        result = device.measure({"small": one_op()}, {"small": FEEDS}, SHORT, kill_once)
        assert result["small"].runs == 12
        assert not before[0].exists()
    assert len(pids.read_text().split()) == 2
    assert server.left() == []


def test_what_is_left_of_a_cut_connection_is_removed_in_the_end(server: Server) -> None:
    pids = server.folder / "pids"
    python = server.script("python", f'echo $$ >> {pids}; exec {sys.executable} "$@"')

    def kill(*_: int) -> None:
        os.kill(int(pids.read_text().split()[-1]), signal.SIGKILL)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), opened(choose(server.spec(python=python))[0]) as device:
        device.measure({"small": one_op()}, {"small": FEEDS}, SHORT, kill)
    assert server.left() == []


def test_closing_a_link_that_is_dead_does_not_take_long(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxprune.latency.remote.link._CLOSE_S", 1.5)
    silent: list[int] = []

    def stop(*_: int) -> None:
        silent.extend([server.process.pid, *server.children()])
        for process in silent:
            os.kill(process, signal.SIGSTOP)
        silent.append(int(time.monotonic()))
        raise KeyboardInterrupt

    warned: list[str] = []
    try:
        with pytest.raises(KeyboardInterrupt), opened(choose(server.spec())[0], warned.append) as device:
            device.measure({"small": one_op()}, {"small": FEEDS}, SHORT, stop)
        # A connection alone would be waited for for 15 s.
        assert time.monotonic() - silent.pop() < 10
    finally:
        for process in silent:
            os.kill(process, signal.SIGCONT)
    assert any("a folder onnxprune-* may be left" in note for note in warned)
    assert server.left() == []


def test_a_runner_does_not_finish_what_nobody_waits_for(server: Server) -> None:
    spec = choose(server.spec())[0]
    assert spec.target is not None
    process = RunnerProcess(spec.target)
    made = recipe("endless", endless())
    options = {"provider": "CPUExecutionProvider", "provider_options": [], "threads": 1, "binds": False}
    fed = feeds_recipe(FEEDS)
    for request in [*made.requests(), *fed.requests()]:
        process.ask(request, 60)
    with pytest.raises(DeviceError, match="did not answer within 1 s"):
        process.ask({"do": "nodes", "name": "m", "model": made.key, "feeds": fed.key, "options": options}, 1)
    assert process.end(10.0)
    assert server.left() == []


def test_a_request_that_always_ends_the_connection_is_given_up(server: Server) -> None:
    answer = '{"ready": "1.0", "folder": "/tmp/onnxprune-none", "pid": 0}'
    python = server.script(
        "python",
        f"echo x >> {server.folder / 'count'}; read code; echo '{answer}'; read request; "
        'case "$request" in *sweep*) echo "{}"; read request;; esac',
    )
    assert "lost the connection 3 times at the same request ('round')" in refusal(server.spec(python=python))


def test_a_device_that_does_not_answer_in_time(server: Server) -> None:
    answer = '{"ready": "1.0", "folder": "/tmp/onnxprune-none", "pid": 0}'
    python = server.script("python", f"read code; echo '{answer}'; cat > /dev/null")
    assert "did not answer within 1 s; is it that slow" in refusal(server.spec(python=python, timeout=1))


def test_a_link_that_takes_no_request_in_time(server: Server) -> None:
    answer = '{"ready": "1.0", "folder": "/tmp/onnxprune-none", "pid": 0}'
    python = server.script("python", f"read code; echo '{answer}'; sleep 60")
    target = choose(server.spec(python=python))[0].target
    assert target is not None
    process = RunnerProcess(target)
    try:
        with pytest.raises(DeviceError, match=r"did not take a request within 1 s; .* more with \?timeout=SECONDS"):
            process.ask({"do": "keep", "keys": ["x" * (32 << 20)]}, 1)
    finally:
        process.end(0.0)


def test_large_inputs_of_all_kinds(server: Server) -> None:
    size = 400_000
    model = onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["" : 17]>
        net (float[{size}] x, float16[{size}] h, int64[{size}] i, float[0] none, float z) => (float[{size}] y) {{
            a = Cast <to = 1> (h)
            b = Cast <to = 1> (i)
            y = Sum (x, a, b, z)
        }}
    """)
    rng = np.random.default_rng(0)
    x = rng.standard_normal(size, np.float32)
    feeds = {"x": x, "h": x.astype(np.float16), "i": rng.integers(0, 1 << 60, size), "none": x[:0], "z": np.float32(1)}
    arrays = {name: np.asarray(value) for name, value in feeds.items()}
    with opened(choose(server.spec())[0]) as device:
        assert device.measure({"m": model.SerializeToString()}, {"m": arrays}, SHORT)["m"].runs == 12


@pytest.mark.slow
def test_prune_for_a_device_over_ssh(server: Server, tmp_path: Path, run: Run) -> None:
    output = tmp_path / "small.onnx"
    model = MODELS / "fashion-resnet20.onnx"
    result = run("prune", model, "--target-latency", "60%", "--device", server.spec(), "-o", output)
    assert result.exit_code == 0, result.output
    report = read_report(tmp_path / "small.report.json")
    assert report.device is not None
    assert report.device.name.startswith("ssh://")
    assert report.after.macs < report.before.macs
    assert report.after.latency is not None
    assert (tmp_path / "cache").is_dir()
    assert server.left() == []


def test_what_is_inside_a_model_comes_from_there(server: Server) -> None:
    path = MODELS / "fashion-resnet20.onnx"
    model = load(path)
    feeds = random_inputs(model, resolve_input_shapes(model), 0)
    spec, options = choose(server.spec())
    with opened(spec) as device:
        bound = dataclasses.replace(SHORT, io_binding=True)
        stats = device.measure({"m": path}, {"m": feeds}, bound)["m"]
        profile = device.profile("m", path, feeds, options)
        memory = device.peak_memory("m", path, feeds, options)
        assert len(list(server.remote.iterdir())) == 1
    here = LocalDevice().profile("m", path, feeds, options)
    assert [(node.name, node.op) for node in profile.nodes] == [(node.name, node.op) for node in here.nodes]
    assert 0 < sum(node.ms for node in profile.nodes) < profile.run_ms
    assert memory.peak_bytes is not None
    assert memory.base_bytes is not None
    assert memory.peak_bytes > memory.base_bytes + path.stat().st_size
    assert len(stats.load_ms) == SHORT.sessions
    assert stats.copies_ms is not None
    assert min(*stats.load_ms, *stats.copies_ms) > 0
    assert server.left() == []


def test_a_model_whose_memory_cannot_be_measured_is_named(server: Server, tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(one_op("NoSuchOp"))
    spec, options = choose(server.spec())
    with opened(spec) as device, pytest.raises(DeviceError, match=r"memory of model 'odd' cannot .*NoSuchOp"):
        device.peak_memory("odd", tmp_path / "bad.onnx", FEEDS, options)


def test_bench_compares_over_ssh_and_this_machine_is_the_same_hardware(
    server: Server, run: Run, tmp_path: Path
) -> None:
    model = MODELS / "fashion-resnet20.onnx"
    base = tmp_path / "base.json"
    there = ("--device", server.spec())
    assert run("bench", model, "--no-memory", "--report", base).exit_code == 0
    result = run("bench", model, *there, "--per-layer", "--compare", base, "--max-regression", "900%")
    assert result.exit_code == 0, result.output
    for words in ("peak memory", "layers of", "no regression; p50"):
        assert words in result.stdout
    other = run("bench", model, *there, "--threads", "2", "--compare", base)
    assert other.exit_code == 1
    assert "was measured on local (" in other.stderr
    assert "this is ssh://" in other.stderr


@pytest.mark.slow
def test_profile_of_a_device_over_ssh_is_known_the_second_time(server: Server, tmp_path: Path, run: Run) -> None:
    model = tmp_path / "cnn.onnx"
    onnx.save(small_cnn(), model)
    results = [run("profile", model, "--device", server.spec(), "--json", "-q") for _ in range(2)]
    assert [result.exit_code for result in results] == [0, 0], [result.stderr for result in results]
    first, second = (json.loads(result.stdout) for result in results)
    assert first["device"]["name"].startswith("ssh://")
    assert first["points_measured"] > 0
    assert (second["points_measured"], second["structures_measured"]) == (0, 0)
    assert server.left() == []
