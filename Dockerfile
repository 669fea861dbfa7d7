# A runner with onnxprune on the PATH, for the CPU and, started with --gpus all, for an NVIDIA GPU.
FROM python:3.11-slim

# For devices over SSH.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends openssh-client \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/onnxprune
COPY setup.py README.md constraints.txt ./
COPY onnxprune onnxprune
RUN pip install --no-cache-dir --disable-pip-version-check --constraint constraints.txt .

# CI systems run jobs as users of their own, who may have no home.
RUN mkdir --mode=1777 /var/cache/onnxprune
ENV ONNXPRUNE_CACHE=/var/cache/onnxprune

WORKDIR /work
# No entry point: CI systems start a shell.
CMD ["onnxprune", "--help"]
