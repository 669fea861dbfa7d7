"""Package metadata; exact versions are pinned in constraints.txt, tool settings are in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

# onnxruntime-gpu has wheels for x86-64 Linux and Windows, and runs without a GPU there; elsewhere the plain package.
GPU_WHEELS = (
    "(sys_platform == 'linux' and platform_machine == 'x86_64') or "
    "(sys_platform == 'win32' and platform_machine == 'AMD64')"
)
NO_GPU_WHEELS = (
    "(sys_platform != 'linux' or platform_machine != 'x86_64') and "
    "(sys_platform != 'win32' or platform_machine != 'AMD64')"
)

setup(
    name="onnxprune",
    version="0.1.0",
    description="Make a trained ONNX network meet a latency on the hardware it runs on, by structured pruning",
    long_description=(Path(__file__).parent / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["onnxprune", "onnxprune.*"]),
    package_data={"onnxprune": ["py.typed"], "onnxprune.report.page": ["*.html", "*.css"]},
    install_requires=[
        "onnx>=1.19",
        "onnx-ir>=1.1",
        f"onnxruntime-gpu>=1.20; {GPU_WHEELS}",
        f"onnxruntime>=1.20; {NO_GPU_WHEELS}",
        "onnx2torch>=1.5.15",
        "torch>=2.4",
        "torchvision>=0.19",
        "numpy>=2.0",
        "click>=8.5",
        "rich>=13",
        "pydantic>=2.8",
        "pillow>=10",
        "protobuf>=4.25",
        "safetensors>=0.5",
        "matplotlib>=3.9",
        "jinja2>=3.1",
        "markupsafe>=2.1",
    ],
    extras_require={
        "test": [
            "pytest>=8",
            "hypothesis>=6.100",
            "pytest-xdist>=3.5",
            "packaging>=24",
            "onnxscript>=0.5",
            "pyyaml>=6",
        ],
        "bench": ["torch-pruning>=1.6", "onnxsim>=0.8.1", "onnxscript>=0.5", "timm>=1.0", "transformers>=5.0"],
        "dev": ["ruff>=0.6", "mypy>=1.11", "import-linter>=2.0", "pre-commit>=3.8"],
    },
    entry_points={"console_scripts": ["onnxprune = onnxprune.cli:main"]},
)
