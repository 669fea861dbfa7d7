import onnxruntime as ort
import pytest

from onnxprune.errors import DeviceError
from onnxprune.latency.providers import PROVIDERS, provider_name, require_provider, working_providers


@pytest.mark.parametrize(
    ("given", "full"),
    [
        ("cpu", "CPUExecutionProvider"),
        ("CUDA", "CUDAExecutionProvider"),
        ("tensorrt", "TensorrtExecutionProvider"),
        ("XnnpackExecutionProvider", "XnnpackExecutionProvider"),
    ],
)
def test_short_and_full_names(given: str, full: str) -> None:
    assert provider_name(given) == full


def test_the_cpu_works_everywhere() -> None:
    assert require_provider("cpu") == "CPUExecutionProvider"
    assert "CPUExecutionProvider" in working_providers()


def test_an_unknown_name_is_refused_with_what_works() -> None:
    with pytest.raises(DeviceError, match=r"unknown provider 'cud'.*working here: .*cpu"):
        provider_name("cud")


def test_a_provider_that_was_not_built_in_is_refused_with_what_works() -> None:
    lacking = next(name for name, full in PROVIDERS.items() if full not in ort.get_available_providers())
    with pytest.raises(DeviceError, match=rf"has no provider '{lacking}'; working here: .*cpu"):
        require_provider(lacking)


@pytest.mark.filterwarnings("ignore:Specified provider 'NoneExecutionProvider'")
def test_a_provider_that_is_built_in_but_does_not_start_is_refused(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["NoneExecutionProvider", "CPUExecutionProvider"])
    working_providers.cache_clear()
    try:
        with pytest.raises(DeviceError, match=r"does not start on this machine.*working here: cpu"):
            require_provider("NoneExecutionProvider")
    finally:
        working_providers.cache_clear()
    assert capfd.readouterr().out == ""
