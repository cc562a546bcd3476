"""Networks that enlarge pictures: all layouts of files against the papers' formulas written out, tiles, refusals."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
import torch
from torch.nn import functional

from executor import context
from executor.errors import Interrupted, ModelFileError
from executor.inference import upscale as module
from executor.inference.memory import Memory
from executor.inference.upscale import load_upscale_model, upscale
from executor.inference.weights import read_weights

WIDTH, GROWTH, BLOCKS = 6, 4, 2


def esrgan(doublings, fold=1, width=WIDTH):
    """Random weights by Real-ESRGAN's names."""
    generator = torch.Generator().manual_seed(3)
    sizes = {"conv_first": (width, 3 * fold**2), "conv_body": (width, width), "conv_hr": (width, width)}
    sizes |= {f"conv_up{n + 1}": (width, width) for n in range(doublings)} | {"conv_last": (3, width)}
    for block in range(BLOCKS):
        for dense in (1, 2, 3):
            for conv in range(5):
                out = width if conv == 4 else GROWTH
                sizes[f"body.{block}.rdb{dense}.conv{conv + 1}"] = (out, width + conv * GROWTH)
    tensors = {}
    for name, (out, into) in sizes.items():
        tensors[f"{name}.weight"] = torch.randn(out, into, 3, 3, generator=generator) / (into * 9) ** 0.5
        tensors[f"{name}.bias"] = torch.randn(out, generator=generator) * 0.1
    tensors["conv_last.bias"] += 0.5  # grey on the whole, so that little is cut
    return tensors


def written_out(tensors, x, doublings, fold=1):
    """Wang et al. 2018: dense blocks in residuals, scaled by 0.2; nearest cells doubled before convolutions."""

    def conv(name, features):
        return functional.conv2d(features, tensors[f"{name}.weight"], tensors[f"{name}.bias"], padding=1)

    def rise(features):
        return torch.where(features > 0, features, 0.2 * features)

    if fold > 1:
        b, c, h, w = x.shape
        x = x.reshape(b, c, h // fold, fold, w // fold, fold).permute(0, 1, 3, 5, 2, 4)
        x = x.reshape(b, c * fold**2, h // fold, w // fold)
    first = features = conv("conv_first", x)
    for block in range(BLOCKS):
        before_block = features
        for dense in (1, 2, 3):
            layers = [features]
            for number in range(1, 5):
                layers.append(rise(conv(f"body.{block}.rdb{dense}.conv{number}", torch.cat(layers, 1))))
            features = features + 0.2 * conv(f"body.{block}.rdb{dense}.conv5", torch.cat(layers, 1))
        features = before_block + 0.2 * features
    features = first + conv("conv_body", features)
    for number in range(doublings):
        features = rise(conv(f"conv_up{number + 1}", features.repeat_interleave(2, -1).repeat_interleave(2, -2)))
    return conv("conv_last", rise(conv("conv_hr", features)))


def first_names(tensors, doublings):
    """The same weights by the names of the first ESRGAN files."""
    ends = {"conv_first": "model.0", "conv_body": f"model.1.sub.{BLOCKS}"}
    ends |= {f"conv_up{n + 1}": f"model.{3 * (n + 1)}" for n in range(doublings)}
    after = 3 * doublings + 2
    ends |= {"conv_hr": f"model.{after}", "conv_last": f"model.{after + 2}"}
    renamed = {}
    for name, tensor in tensors.items():
        stem, _, kind = name.rpartition(".")
        if stem.startswith("body."):
            _, block, dense, conv = stem.split(".")
            renamed[f"model.1.sub.{block}.{dense.upper()}.{conv}.0.{kind}"] = tensor
        else:
            renamed[f"{ends[stem]}.{kind}"] = tensor
    return renamed


def second_names(tensors, doublings):
    """The same weights by the names of the second ESRGAN files."""
    changes = (("conv_body", "trunk_conv"), ("body.", "RRDB_trunk."), ("rdb", "RDB"), ("conv_up", "upconv"))
    changes += (("conv_hr", "HRconv"),)
    renamed = {}
    for name, tensor in tensors.items():
        for before, after in changes:
            name = name.replace(before, after)
        renamed[name] = tensor
    return renamed


def wrapped(tensors, doublings):
    """As Real-ESRGAN's trainings leave them."""
    worse = {name: tensor * 0 for name, tensor in tensors.items()}
    return {"params": worse, "params_ema": tensors}


def saved(path, content):
    torch.save(content, path)
    return path


def opened(path, content):
    return load_upscale_model(saved(path, content), Memory(mode="cpu"))


@pytest.fixture
def picture():
    return torch.rand(2, 14, 10, 3, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("layout", [first_names, second_names, wrapped, lambda tensors, _: tensors])
@pytest.mark.parametrize("doublings", [0, 1, 2, 3])
def test_esrgan_of_every_layout_equals_the_papers_formula(tmp_path, picture, layout, doublings):
    tensors = esrgan(doublings)
    model = opened(tmp_path / "net.pth", layout(tensors, doublings))
    assert model.scale == 2**doublings
    wanted = written_out(tensors, picture.movedim(-1, 1), doublings).clamp(0, 1).movedim(1, -1)
    found = upscale(model, picture)
    assert found.std() > 0.05
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("fold", "scale"), [(2, 2), (4, 1)])
def test_real_esrgan_of_smaller_factors_unshuffles_first(tmp_path, picture, fold, scale):
    tensors, even = esrgan(2, fold), picture[:, :12, :8]
    model = opened(tmp_path / "net.pth", {"params_ema": tensors})
    assert model.scale == scale
    wanted = written_out(tensors, even.movedim(-1, 1), 2, fold).clamp(0, 1).movedim(1, -1)
    torch.testing.assert_close(upscale(model, even), wanted, rtol=1e-5, atol=1e-5)


def test_sides_that_do_not_unshuffle_evenly_are_kept(tmp_path):
    model = opened(tmp_path / "net.pth", esrgan(2, 2))
    assert upscale(model, torch.rand(1, 7, 5, 3)).shape == (1, 14, 10, 3)


def compact(scale, layers=3):
    generator, sizes = torch.Generator().manual_seed(4), [(WIDTH, 3), *[(WIDTH, WIDTH)] * layers, (3 * scale**2, WIDTH)]
    tensors = {}
    for number, (out, into) in enumerate(sizes):
        tensors[f"body.{2 * number}.weight"] = torch.randn(out, into, 3, 3, generator=generator) / (into * 9) ** 0.5
        tensors[f"body.{2 * number}.bias"] = torch.randn(out, generator=generator) * 0.1
        if number <= layers:
            tensors[f"body.{2 * number + 1}.weight"] = torch.rand(WIDTH, generator=generator)
    return tensors


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_the_compact_network_adds_details_to_the_enlarged_picture(tmp_path, picture, scale):
    tensors = compact(scale)
    x = picture.movedim(-1, 1)
    features = x
    for number in range(4):
        place = 2 * number
        features = functional.conv2d(
            features, tensors[f"body.{place}.weight"], tensors[f"body.{place}.bias"], padding=1
        )
        slope = tensors[f"body.{place + 1}.weight"].reshape(1, -1, 1, 1)
        features = features.clamp(min=0) + slope * features.clamp(max=0)
    features = functional.conv2d(features, tensors["body.8.weight"], tensors["body.8.bias"], padding=1)
    b, _, h, w = features.shape
    details = features.reshape(b, 3, scale, scale, h, w).permute(0, 1, 4, 2, 5, 3).reshape(b, 3, h * scale, w * scale)
    wanted = details + x.repeat_interleave(scale, -1).repeat_interleave(scale, -2)
    model = opened(tmp_path / "net.pth", {"params": tensors})
    torch.testing.assert_close(upscale(model, picture), wanted.clamp(0, 1).movedim(1, -1), rtol=1e-5, atol=1e-5)


def test_half_precision_files_compute_in_float32(tmp_path, picture):
    halves = {name: tensor.half() for name, tensor in compact(2).items()}
    whole = {name: tensor.float() for name, tensor in halves.items()}
    found = upscale(opened(tmp_path / "half.pth", halves), picture)
    torch.testing.assert_close(found, upscale(opened(tmp_path / "whole.pth", whole), picture), rtol=0, atol=0)


# ---------------------------------------------------------------- tiles


def test_tiles_leave_no_seam(tmp_path, monkeypatch):
    """Overlaps of 32 are wider than what these few layers see, so tiles show nothing."""
    model = opened(tmp_path / "net.pth", compact(2))
    picture = torch.rand(1, 150, 210, 3, generator=torch.Generator().manual_seed(2))
    whole = upscale(model, picture)
    monkeypatch.setattr(module, "TILE", 96)
    tiled = upscale(model, picture)
    torch.testing.assert_close(tiled, whole, rtol=0, atol=0.05)
    assert float((tiled - whole).abs().mean()) < 1e-3


class Scarce:
    """A network with memory for small tiles only."""

    scale = 1

    def __init__(self, most):
        self.most, self.seen = most, []

    def loaded(self, tile):
        return self

    def __enter__(self):
        return torch.device("cpu")

    def __exit__(self, *failure):
        return None

    def __call__(self, x):
        self.seen.append(max(x.shape[-2:]))
        if max(x.shape[-2:]) > self.most:
            raise torch.OutOfMemoryError("full")
        return x


def test_tiles_are_halved_when_memory_runs_out():
    model, picture = Scarce(140), torch.rand(1, 300, 520, 3)
    torch.testing.assert_close(upscale(model, picture), picture)
    assert [*dict.fromkeys(model.seen)][:2] == [512, 256]
    assert max(model.seen[2:]) == 128


def test_the_smallest_tile_that_does_not_fit_is_an_error():
    model = Scarce(100)
    with pytest.raises(torch.OutOfMemoryError):
        upscale(model, torch.rand(1, 300, 300, 3))


def test_another_failure_is_not_tried_again():
    class Broken(Scarce):
        def __call__(self, x):
            raise RuntimeError("shapes")

    with pytest.raises(RuntimeError, match="shapes"):
        upscale(Broken(1), torch.rand(1, 8, 8, 3))


class Told(context.SilentProgress):
    def __init__(self, flag):
        self.flag, self.steps = flag, []

    def advance(self, node_id, value, total, preview):
        self.steps.append((value, total))
        if len(self.steps) == 3:
            self.flag.set()


def test_progress_is_told_by_tile_and_an_interrupt_stops_between_them(monkeypatch):
    monkeypatch.setattr(module, "TILE", 64)
    flag, model = context.InterruptFlag(), Scarce(64)
    told = Told(flag)
    with context.entered(context.RunContext(interrupt=flag, sink=told)), pytest.raises(Interrupted):
        upscale(model, torch.rand(2, 64, 128, 3))
    assert told.steps == [(1, 6), (2, 6), (3, 6)]
    assert len(model.seen) == 4


def test_alpha_is_left_out_and_grey_is_a_colour(tmp_path):
    model = opened(tmp_path / "net.pth", compact(1))
    assert upscale(model, torch.rand(1, 8, 8, 4)).shape == (1, 8, 8, 3)
    assert upscale(model, torch.rand(1, 8, 8, 1)).shape == (1, 8, 8, 3)


def test_packs_may_move_and_call_the_model(tmp_path):
    model, x = opened(tmp_path / "net.pth", compact(2)), torch.rand(1, 3, 8, 8)
    found = model.to("cpu").eval()(x)
    torch.testing.assert_close(found.clamp(0, 1).movedim(1, -1), upscale(model, x.movedim(1, -1)))


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("conv_hr.weight"), "lacks 1 tensors, such as conv_hr.weight"),
        (lambda t: t.pop("conv_last.weight"), "its ESRGAN lacks conv_last.weight"),
        (lambda t: t.update({"conv_last.weight": torch.zeros(1, WIDTH, 3, 3)}), "takes 1 and gives 1 channels|gives 1"),
        (lambda t: t.update({"conv_hr.weight": torch.zeros(5, WIDTH, 3, 3)}), "conv_hr.weight of shape"),
    ],
)
def test_a_broken_file_is_refused_with_the_tensor(tmp_path, change, message):
    tensors = esrgan(2)
    change(tensors)
    with pytest.raises(ModelFileError, match=message):
        opened(tmp_path / "net.pth", tensors)


def test_without_spandrel_the_package_and_the_extra_are_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "spandrel", None)
    with pytest.raises(ModelFileError, match=r"spandrel, which cannot be imported .*pip install 'weft\[upscale\]'"):
        opened(tmp_path / "swin.pth", {"layers.0.residual_group.blocks.0.attn.qkv.weight": torch.zeros(3, 3)})


def test_a_torchvision_of_another_build_is_told(tmp_path, monkeypatch):
    class Failing:
        def find_spec(self, name, path=None, target=None):
            if name == "spandrel":
                raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.delitem(sys.modules, "spandrel", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Failing(), *sys.meta_path])
    with pytest.raises(ModelFileError, match="torchvision::nms does not exist"):
        opened(tmp_path / "swin.pth", {"layers.0.weight": torch.zeros(3, 3)})


class Doubling(torch.nn.Module):
    def __init__(self, tensors):
        super().__init__()
        self.weight = torch.nn.Parameter(tensors["weight"])

    def forward(self, x):
        return functional.interpolate(x, scale_factor=2, mode="nearest") * self.weight


@pytest.fixture
def spandrel(monkeypatch):
    """A stand-in with spandrel's interface (its documentation): reads one network."""

    class ImageModelDescriptor:
        scale, input_channels, output_channels = 2, 3, 3

        def __init__(self, model):
            self.model = model

        def __call__(self, image):
            return self.model(image).clamp(0, 1)

        def to(self, device):
            self.model.to(device)
            return self

        def eval(self):
            self.model.eval()
            return self

    class ModelLoader:
        def load_from_state_dict(self, tensors):
            if set(tensors) != {"weight"}:
                raise LookupError("unknown")
            return ImageModelDescriptor(Doubling(tensors))

    package = ModuleType("spandrel")
    package.ImageModelDescriptor, package.ModelLoader = ImageModelDescriptor, ModelLoader
    monkeypatch.setitem(sys.modules, "spandrel", package)


@pytest.mark.usefixtures("spandrel")
def test_spandrel_reads_other_networks(tmp_path, picture):
    model = opened(tmp_path / "other.pth", {"params": {"weight": torch.tensor([0.5])}})
    wanted = 0.5 * picture.repeat_interleave(2, 1).repeat_interleave(2, 2)
    torch.testing.assert_close(upscale(model, picture), wanted)
    assert model.scale == 2


@pytest.mark.usefixtures("spandrel")
def test_what_spandrel_does_not_know_is_told_for_what_it_is(tmp_path):
    content = {"double_blocks.0.img_attn.qkv.weight": torch.zeros(2, 2)}
    with pytest.raises(ModelFileError, match="looks like a Flux model, and spandrel does not know it; ESRGAN"):
        opened(tmp_path / "flux.pth", content)


def test_a_pickle_that_runs_code_is_refused(tmp_path):
    saved(tmp_path / "bad.pth", {"model": Doubling({"weight": torch.zeros(1)})})
    with pytest.raises(ModelFileError, match="could run code"):
        read_weights(tmp_path / "bad.pth")
