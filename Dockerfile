# Persistill for CPUs, or for NVIDIA GPUs with DEVICE=cuda:
#
#   docker build --tag persistill .
#   docker build --tag persistill:cuda --build-arg DEVICE=cuda .
#
# Images and results lie in the folder that is mounted at /data:
#
#   docker run --rm --user "$(id -u):$(id -g)" --volume "$PWD:/data" persistill demo
#   docker run --rm --user "$(id -u):$(id -g)" --volume "$PWD:/data" --gpus all persistill:cuda demo

ARG PYTHON=3.12.11
FROM python:${PYTHON}-slim-bookworm

# The wheels of torch for CUDA bring its libraries along; beside them, Triton wants a C compiler for its kernels.
ARG DEVICE=cpu
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
RUN case "$DEVICE" in \
        cpu) python -m pip install --no-cache-dir --index-url https://download.pytorch.org/whl/cpu torch torchvision ;; \
        cuda) apt-get update \
            && apt-get install --yes --no-install-recommends gcc libc6-dev \
            && rm -rf /var/lib/apt/lists/* \
            && python -m pip install --no-cache-dir torch torchvision ;; \
        *) echo "DEVICE must be cpu or cuda; got $DEVICE." >&2; exit 1 ;; \
    esac

ARG EXTRAS=onnx
WORKDIR /opt/persistill
COPY pyproject.toml README.md LICENSE ./
COPY persistill persistill
COPY recipes recipes
RUN python -m pip install --no-cache-dir ".[$EXTRAS]"

# Compiled kernels and downloaded weights are kept where any user may write: --user takes the place of this one.
RUN useradd --create-home --uid 1000 persistill && mkdir --mode 1777 /cache && mkdir --mode 1777 /data
ENV NUMBA_CACHE_DIR=/cache/numba MPLCONFIGDIR=/cache/matplotlib HF_HOME=/cache/huggingface TORCH_HOME=/cache/torch \
    TRITON_CACHE_DIR=/cache/triton TORCHINDUCTOR_CACHE_DIR=/cache/inductor
USER persistill
WORKDIR /data
ENTRYPOINT ["persistill"]
CMD ["--help"]
