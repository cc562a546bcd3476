#!/usr/bin/env bash
# What a session does with a GPU that it has for minutes: tests/gpu/visit.sh tests|speed|ways [folder for results].
# No Makefile target: such a machine has a python3 with PyTorch and no network, so nothing may be installed first.
set -uo pipefail
what="${1:?tests, speed or ways}" out="${2:-${OUT:-.cache/gpu}}"
mkdir -p "$out"
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1 WEFT_FULL_DIR="${WEFT_FULL_DIR:-/tmp/weft-full}"
python3 -c 'import torch, transformers, diffusers
print(torch.__version__, transformers.__version__, diffusers.__version__, torch.cuda.get_device_name())' || exit
case "$what" in
  tests) # the short files first; each test that fails tells its last lines
    timeout 330 python3 -m pytest -m gpu -q --tb=short --durations=15 -p no:randomly -W default \
      tests/gpu/test_cuda_graphs.py tests/gpu/test_no_waiting.py tests/gpu/test_layout.py tests/gpu/test_eight_bits.py \
      tests/gpu/test_previews.py tests/unit/executor/inference/test_streaming.py tests/gpu/test_memory.py \
      tests/gpu/test_parity.py 2>&1 | tee "$out/tests.txt" ;;
  speed) # each case's figures are told as they come: a run that is cut off loses none
    timeout 340 python3 -m benchmarks --only gpu --json "$out/gpu.json" 2>&1 | tee "$out/speed.txt" ;;
  ways) timeout 340 python3 -m benchmarks --only gpu_ways --json "$out/ways.json" 2>&1 | tee "$out/ways.txt" ;;
  *) echo "tests, speed or ways, not $what" >&2; exit 2 ;;
esac
