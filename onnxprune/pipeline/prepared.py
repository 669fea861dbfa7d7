"""What a run knows before it computes anything: the network, the data, and how the structure is chosen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from onnxprune.errors import OutputError, QuantisedModelError
from onnxprune.graph import check_writable, is_device, is_quantised
from onnxprune.pipeline.files import check_files, default_output
from onnxprune.pipeline.judging import search_length
from onnxprune.pipeline.opening import opened_data
from onnxprune.pipeline.planning import Choice
from onnxprune.pipeline.prepare import Network, read_network, runnable
from onnxprune.pipeline.quantising import check_quantisable
from onnxprune.pipeline.settings import Settings
from onnxprune.pipeline.unheeded import check_without_data, unheeded
from onnxprune.progress import Observer
from onnxprune.search import AgentName, AllocationName, GroupRatios, SearchConfig, kept_share, ratio_target
from onnxprune.training import DataSplits


@dataclass(frozen=True)
class Prepared:
    """What a run knows before it computes anything.

    Attributes:
        network: The original.
        output: Where the result goes.
        data: The data in its parts; None: there is none.
        choice: How the structure is chosen.
    """

    network: Network
    output: Path
    data: DataSplits | None
    choice: Choice


def prepare(model: str | Path, settings: Settings, observer: Observer) -> Prepared:
    """Read the model and the data, and refuse what cannot end well.

    Raises:
        OnnxPruneError: The model, the data or a path to be written cannot be used.
    """
    check_without_data(settings)
    observer.stage("reading the model")
    network = read_network(model, settings.input_shapes, settings.measure.batch, settings.restriction)
    _check_format(network, settings, observer)
    output = settings.output or default_output(network.path)
    check_files({"model": network.path, "output": output, "report": settings.report, "run_dir": settings.run_dir})
    _check_places(output, settings.report)
    network, data = opened_data(network, settings, observer)
    choice = _choice(network, settings, data)
    for note in unheeded(settings, choice, network, data):
        observer.warn(note)
    return Prepared(network, output, data, choice)


def _check_places(output: Path, report: Path | None) -> None:
    """Refuse places where nothing can be written, or from where the result cannot be read again."""
    if is_device(output):
        raise OutputError(
            f"--output '{output}' is no file but a device or a pipe, from where the result cannot be read again to be "
            "checked; give the name of a file (--dry-run writes none)"
        )
    for path in (output, report):
        if path is not None:
            check_writable(path)


def _check_format(network: Network, settings: Settings, observer: Observer) -> None:
    """Refuse to train integers, and say where copies stand in."""
    if settings.training is not None and is_quantised(network.model):
        raise QuantisedModelError(
            f"'{network.path}' is quantised already: its weights are integers, which cannot be trained. "
            "Compress the float model that it was made from (--quantize int8 gives integers again), or prune it as it "
            "is, without training: onnxprune prune --heal --data DATA"
        )
    if settings.quantize is not None:
        check_quantisable(network)
    if runnable(network.model, settings.measure.provider) is not network.model:
        observer.warn("onnxruntime runs no bfloat16 on the CPU: latency and accuracy are those of float32 copies")


def _choice(network: Network, settings: Settings, data: DataSplits | None) -> Choice:
    search = settings.search or SearchConfig(evaluations=search_length(network))
    if isinstance(settings.target, GroupRatios):
        counts = settings.target.counts(network.channels, settings.limits)
        target = ratio_target(1 - kept_share(network.channels, counts), settings.target.text)
        return Choice(target, "global", None, settings.seed, search, counts)
    return Choice(settings.target, _allocation(settings, data), settings.round_to, settings.seed, search)


def _allocation(settings: Settings, data: DataSplits | None) -> AllocationName | AgentName:
    """Choose how the pruning is spread, where the user did not."""
    real = data is not None and not data.synthetic
    if settings.allocation is not None:
        return settings.allocation
    return "rl" if real and settings.training is not None else "global"
