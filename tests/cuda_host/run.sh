#!/usr/bin/env bash
# Runs a command whose PyTorch meets the pretended runtime: tests/cuda_host/README.md.
#
#   tests/cuda_host/run.sh COMMAND...     # WEFT_CUDA_HOST: where build.sh put the libraries; CUDA_HOST_MB: memory
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
libraries="$(cd "${WEFT_CUDA_HOST:-$here/../../.cache/cuda_host}" && pwd)"
export TORCH_CUDNN_V8_API_DISABLED=1 TRITON_LIBCUDA_PATH="$libraries"
export LD_LIBRARY_PATH="$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
exec env LD_PRELOAD="$libraries/libcuda_host.so${LD_PRELOAD:+:$LD_PRELOAD}" "$@"
