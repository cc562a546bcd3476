"""comfy.utils, comfy.model_management, node_helpers and other small names that packs call."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field

import pytest
import torch
from PIL import Image

from executor import context
from executor.context import InterruptFlag, RunContext
from executor.errors import Interrupted, ModelFileError
from tests.unit.nodes.compat.conftest import COMPAT, Host


@dataclass
class Sink:
    """Keeps what is reported."""

    steps: list[tuple[object, ...]] = field(default_factory=list)

    def advance(self, node_id: str, value: float, total: float, preview: object) -> None:
        self.steps.append((node_id, value, total, None if preview is None else preview.image().size))


def test_a_progress_bar_reports_and_caps_its_steps(host: Host):
    sink = Sink()
    with context.entered(RunContext(node_id="7", sink=sink)):
        bar = host("comfy.utils").ProgressBar(3)
        bar.update(2)
        bar.update_absolute(9, preview=("JPEG", Image.new("RGB", (4, 2)), 512))
    assert sink.steps == [("7", 2, 3, None), ("7", 3, 3, (4, 2))]
    assert (bar.current, bar.total) == (3, 3)


def test_a_progress_bar_made_in_a_node_reports_from_its_threads(host: Host):
    sink = Sink()
    with context.entered(RunContext(node_id="7", sink=sink)):
        bar = host("comfy.utils").ProgressBar(3)
    bar.update(1)
    assert sink.steps == [("7", 1, 3, None)]


def test_a_progress_bar_ends_an_interrupted_node(host: Host):
    flag = InterruptFlag()
    flag.set()
    with context.entered(RunContext(node_id="7", interrupt=flag)):
        bar = host("comfy.utils").ProgressBar(3)
        with pytest.raises(host("comfy.model_management").InterruptProcessingException):
            bar.update(1)
        with pytest.raises(Interrupted):
            host("comfy.model_management").throw_exception_if_processing_interrupted()


def test_a_global_hook_gets_the_steps_instead(host: Host):
    told = []
    utils = host("comfy.utils")
    utils.set_progress_bar_global_hook(lambda value, total, preview, node_id=None: told.append((value, total, node_id)))
    utils.ProgressBar(3, node_id="4").update(1)
    assert told == [(1, 3, "4")]


def test_tensors_are_saved_and_loaded(host: Host):
    utils, path = host("comfy.utils"), str(host.base / "a.safetensors")
    utils.save_torch_file({"a": torch.ones(2, 2).t()}, path, metadata={"k": "v"})
    tensors, metadata = utils.load_torch_file(path, return_metadata=True)
    assert torch.equal(tensors["a"], torch.ones(2, 2))
    assert metadata == {"k": "v"}
    assert utils.load_torch_file(path).keys() == {"a"}
    assert b"__metadata__" in utils.safetensors_header(path)
    assert utils.safetensors_header(path, max_size=4) is None


def test_a_pickle_with_code_is_not_run(host: Host):
    path = host.base / "a.ckpt"
    torch.save({"a": Host}, path)
    with pytest.raises(ModelFileError, match="could run code"):
        host("comfy.utils").load_torch_file(str(path), safe_load=False)


def test_keys_of_tensors(host: Host):
    utils = host("comfy.utils")
    tensors = {"a.x": torch.ones(3), "b.y": torch.ones(2, dtype=torch.float16)}
    assert utils.calculate_parameters(tensors) == 5
    assert utils.weight_dtype(tensors, "b.") == torch.float16
    assert utils.weight_dtype(tensors, "z.") is None
    assert utils.state_dict_prefix_replace(dict(tensors), {"a.": "c."}).keys() == {"b.y", "c.x"}
    assert utils.state_dict_prefix_replace(dict(tensors), {"a.": "c."}, filter_keys=True).keys() == {"c.x"}
    assert utils.state_dict_key_replace(dict(tensors), {"a.x": "d"}).keys() == {"b.y", "d"}


def test_attributes_by_dotted_names(host: Host):
    utils, net = host("comfy.utils"), torch.nn.Sequential(torch.nn.Linear(2, 2))
    before = utils.set_attr_param(net, "0.weight", torch.zeros(2, 2))
    assert isinstance(before, torch.nn.Parameter)
    assert utils.get_attr(net, "0.weight").sum() == 0
    utils.copy_to_param(net, "0.weight", torch.ones(2, 2))
    assert net[0].weight.sum() == 4


@pytest.mark.parametrize(("size", "expected"), [(2, [0, 4]), (5, [0, 1, 2, 3, 4]), (3, [0, 2, 4])])
def test_batches_are_spread(host: Host, size: int, expected: list[int]):
    assert host("comfy.utils").resize_to_batch_size(torch.arange(5), size).tolist() == expected


def test_batches_are_repeated_and_cut(host: Host):
    repeat = host("comfy.utils").repeat_to_batch_size
    assert repeat(torch.arange(2), 5).tolist() == [0, 1, 0, 1, 0]
    assert repeat(torch.arange(6).reshape(2, 3), 2, dim=1).tolist() == [[0, 1], [3, 4]]


def test_a_mask_takes_the_shape_of_latents(host: Host):
    mask = torch.zeros(1, 16, 16)
    mask[:, :8] = 1
    shaped = host("comfy.utils").reshape_mask(mask, (2, 4, 8, 8))
    assert shaped.shape == (2, 4, 8, 8)
    assert shaped[1, 3, 0].eq(1).all()


@pytest.mark.parametrize("method", ["nearest-exact", "bilinear", "area", "bicubic", "lanczos", "bislerp"])
def test_pictures_are_scaled_by_every_method(host: Host, method: str):
    scaled = host("comfy.utils").common_upscale(torch.rand(1, 3, 8, 12), 6, 6, method, "center")
    assert scaled.shape == (1, 3, 6, 6)


def test_devices_of_a_worker_without_gpu(host: Host):
    management = host("comfy.model_management")
    assert management.get_torch_device() == torch.device("cpu")
    assert management.vram_state is management.VRAMState.DISABLED
    assert management.unet_dtype() == torch.float32
    assert management.unet_manual_cast(torch.float16, torch.device("cpu")) == torch.float32
    assert management.unet_manual_cast(torch.float32, torch.device("cpu")) is None
    assert not management.should_use_fp16()
    assert management.is_device_cpu(torch.device("cpu"))
    assert management.get_autocast_device(torch.device("cpu")) == "cpu"
    assert 0 < management.get_free_memory() <= management.get_total_memory()
    assert management.module_size(torch.nn.Linear(2, 2)) == 24


def test_a_module_of_a_pack_is_loaded_and_unloaded(host: Host):
    management, patcher = host("comfy.model_management"), host("comfy.model_patcher")
    net = torch.nn.Linear(2, 2).requires_grad_(False)
    before = net.weight.clone()
    plain = patcher.ModelPatcher(net, load_device=torch.device("cpu"), offload_device=torch.device("cpu"))
    changed = plain.clone()
    assert changed.add_patches({"weight": (torch.ones(2, 2),), "gone": (torch.ones(1),)}, 0.5) == ["weight"]
    management.load_models_gpu([changed])
    assert torch.allclose(net.weight, before + 0.5)
    changed.detach()
    assert torch.equal(net.weight, before)
    assert isinstance(plain, patcher.ModelPatcher)


def test_values_are_put_into_conditioning(host: Host):
    cond = [[torch.zeros(1), {"area": 1, "list": [1]}]]
    changed = host("node_helpers").conditioning_set_values(cond, {"area": 2})
    assert (changed[0][1]["area"], cond[0][1]["area"]) == (2, 1)
    longer = host("node_helpers").conditioning_set_values(cond, {"list": [2], "new": [3]}, append=True)
    assert longer[0][1] == {"area": 1, "list": [1, 2], "new": [3]}


def test_the_command_line_as_a_namespace(host: Host):
    cli_args = host("comfy.cli_args")
    assert cli_args.args.cpu is True
    assert cli_args.args.preview_method is cli_args.LatentPreviewMethod.Auto
    assert cli_args.args.base_directory == str(host.base)
    assert cli_args.args.fast == set()


def test_the_first_imports_need_no_torch(host: Host):
    source = """
import sys
from pathlib import Path
from types import SimpleNamespace
from executor.files import Folders
from executor.settings import Settings
from nodes import bridge
settings = Settings(base_directory=Path(sys.argv[1]))
services = SimpleNamespace(settings=settings, folders=Folders(settings))
bridge.open_for(SimpleNamespace(services=services, reports=None, server=None, registry=None))
sys.path.insert(0, sys.argv[2])
import folder_paths, comfy.options, comfy.cli_args
print("torch" in sys.modules)
"""
    command = [sys.executable, "-c", source, str(host.base), str(COMPAT)]
    done = subprocess.run(command, cwd=COMPAT.parents[1], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
