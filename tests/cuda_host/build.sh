#!/usr/bin/env bash
# Builds the pretended runtime and driver against the CUDA headers that a virtual environment's PyTorch brought along.
#
#   tests/cuda_host/build.sh PYTHON [FOLDER]     # PYTHON of that environment; FOLDER: .cache/cuda_host
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
python="${1:?build.sh PYTHON [FOLDER]}"
out="${2:-$here/../../.cache/cuda_host}"
packages="$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
# CUDA's own first; Triton brings the folder crt, which PyTorch's packages leave out.
headers=("-I$packages/nvidia/cu13/include" "-isystem" "$packages/triton/backends/nvidia/include")
flags=(-std=c++17 -O1 -g -shared -fPIC -Wall -Wextra -Wno-psabi -fvisibility=hidden)
mkdir -p "$out"
g++ "${flags[@]}" "${headers[@]}" "$here"/{books,memory,streams,device,libraries}.cpp -o "$out/libcuda_host.so" -lpthread
g++ "${flags[@]}" -Wl,-soname,libcuda.so.1 "$here/driver.cpp" -o "$out/libcuda.so.1" -ldl
ln -sf libcuda.so.1 "$out/libcuda.so" # as Triton looks for it
