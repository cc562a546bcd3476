# One file, two images: `docker build -t weft .` for NVIDIA GPUs, `docker build --target cpu -t weft:cpu .` without.

FROM python:3.12-slim AS base
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore
RUN useradd --create-home --uid 1000 weft \
    && mkdir --parents /weft/models /weft/input /weft/output /weft/user /weft/custom_nodes /weft/temp \
    && chown --recursive weft:weft /weft
WORKDIR /weft
COPY pyproject.toml constraints.txt ./
RUN python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" \
    > requirements.txt
EXPOSE 8188
# Healthy is what can take, run and store a prompt: a worker is warm, the disk is writable, no stop is under way.
HEALTHCHECK --interval=30s --timeout=5s --start-period=120s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8188/ready', timeout=4)"]
ENTRYPOINT ["python", "-m", "server"]
CMD ["--listen"]

FROM base AS cpu
# The package index of PyTorch's CPU-only builds; without one the image works too, but carries CUDA's libraries.
ARG TORCH_INDEX=""
RUN pip install --constraint constraints.txt ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} --requirement requirements.txt
COPY --chown=weft:weft . .
RUN python -m compileall -q server executor nodes
USER 1000:1000
VOLUME ["/weft/models", "/weft/input", "/weft/output", "/weft/user", "/weft/custom_nodes"]

FROM base AS cuda
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
# Triton, which comes with PyTorch, makes the kernels of group norms and of --compile with a C compiler.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
RUN pip install --constraint constraints.txt --requirement requirements.txt
COPY --chown=weft:weft . .
RUN python -m compileall -q server executor nodes
USER 1000:1000
VOLUME ["/weft/models", "/weft/input", "/weft/output", "/weft/user", "/weft/custom_nodes"]
