#!/usr/bin/env bash
# What a session does with a GPU that it has for minutes: tests/gpu/visit.sh tests|speed|ways [folder for results].
# No Makefile target: such a machine has a python3 with PyTorch and no network. What it lacks comes along in .whl, which
# `tests/gpu/visit.sh wheels` fills beforehand, where there is a network.
set -uo pipefail
what="${1:?wheels, tests, speed or ways}" out="${2:-${OUT:-.cache/gpu}}" site=/tmp/weft-site
if [ "$what" = wheels ]; then
  for version in 28 27 17; do platforms+=(--platform "manylinux_2_${version}_x86_64"); done
  platforms+=(--platform manylinux2014_x86_64 --platform manylinux1_x86_64)
  grep -v '^#' tests/gpu/wheels.txt | xargs python3 -m pip download --no-deps --only-binary=:all: --implementation cp \
    --python-version "${WEFT_GPU_PYTHON:-3.12}" "${platforms[@]}" -c constraints.txt -d .whl
  exit
fi
mkdir -p "$out"
if [ -d .whl ]; then
  python3 -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target "$site" .whl/*.whl || exit
  PYTHONPATH="$site${PYTHONPATH:+:$PYTHONPATH}"
fi
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1 WEFT_FULL_DIR="${WEFT_FULL_DIR:-/tmp/weft-full}"
# Whatever is missing is told now, and not by a server that never answers in the last minute.
python3 -c 'import aiohttp, hypothesis, isal, msgspec, prometheus_client, psutil, pytest, pytest_asyncio, torchsde, yaml
import torch, transformers, diffusers
from diffusers import UNet2DConditionModel, UNetSpatioTemporalConditionModel
print(torch.__version__, transformers.__version__, diffusers.__version__, torch.cuda.get_device_name())' || exit
case "$what" in
  tests) # what matters most first, should it be cut off; each test that fails tells its last lines
    # Plugins of pytest that lie there are of other versions than the pytest that comes along: only what is named loads.
    export PYTEST_DISABLE_PLUGIN_AUTOLOAD=1
    run=(python3 -m pytest -p pytest_asyncio.plugin -m gpu -q --tb=short --durations=15 -W default)
    # By an interrupt pytest still tells what failed before it was cut off.
    # These break something on purpose: in a process of their own, they break no other test with it.
    breaking=(tests/gpu/test_cuda_graphs.py::test_a_failed_recording_leaves_the_device_usable
      tests/gpu/test_cuda_graphs.py::test_a_failed_recording_gives_its_memory_back
      tests/gpu/test_memory.py::test_a_device_without_room_tells_its_figures_and_draws_the_next_prompt)
    # A process for each group: one that crashes or hangs takes no other group's answers with it.
    parity=tests/gpu/test_parity.py::test
    groups=("${parity}_half_precision_draws_the_same_picture tests/gpu/test_memory.py"
      "tests/unit/executor/inference/test_streaming.py tests/gpu
        --ignore=tests/gpu/test_memory.py --ignore=tests/gpu/test_parity.py"
      "${parity}_a_recorded_sampling_ends_alike")
    : >"$out/tests.txt"
    end=$((SECONDS + 300))
    for group in "${groups[@]}"; do
      left=$((end - SECONDS < 150 ? end - SECONDS : 150))
      # shellcheck disable=SC2086  # a group is several words
      [ "$left" -gt 5 ] && timeout -s INT -k 15 "$left" "${run[@]}" "${breaking[@]/#/--deselect=}" $group 2>&1 |
        tee -a "$out/tests.txt"
    done
    timeout -s INT -k 5 45 "${run[@]}" "${breaking[@]}" 2>&1 | tee "$out/breaking.txt" ;;
  speed) # each case's figures are told as they come: a run that is cut off loses none
    timeout 340 python3 -m benchmarks --only gpu --json "$out/gpu.json" 2>&1 | tee "$out/speed.txt" ;;
  ways) timeout 340 python3 -m benchmarks --only gpu_ways --json "$out/ways.json" 2>&1 | tee "$out/ways.txt" ;;
  *) echo "wheels, tests, speed or ways, not $what" >&2; exit 2 ;;
esac
