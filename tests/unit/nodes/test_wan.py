"""Nodes of Wan's videos: latents, masks and options that lead a video, by a small VAE."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from executor.errors import NodeInputError
from executor.inference.checkpoint import load_checkpoint, load_diffusion_model
from executor.inference.frames import DecodedLatents
from executor.inference.memory import Memory
from executor.inference.text.loading import load_text_encoder
from executor.inference.vae import load_vae
from executor.inference.video_latent_formats import WAN21, WAN22
from nodes.builtin.context_windows import WanContextWindowsManual
from nodes.builtin.latent import (
    EmptyHunyuanLatentVideo,
    LatentBlend,
    LatentComposite,
    LatentCrop,
    LatentFlip,
    LatentFromBatch,
    LatentRotate,
    LatentUpscaleBy,
    RepeatLatentBatch,
)
from nodes.builtin.latent_batch import LatentAdd, LatentBatch, RebatchLatents
from nodes.builtin.latent_io import LoadLatent, SaveLatent
from nodes.builtin.latent_operations import LatentApplyOperation, LatentOperationSharpen
from nodes.builtin.merging_by_layer import ModelMergeWAN2_1
from nodes.builtin.model_patches import SkipLayerGuidanceDiT
from nodes.builtin.model_saving import CheckpointSave, CLIPSave, ModelSave
from nodes.builtin.sampling import KSamplerAdvanced
from nodes.builtin.vae import VAEDecode
from nodes.builtin.wan import (
    TrimVideoLatent,
    Wan22FunControlToVideo,
    Wan22ImageToVideoLatent,
    WanFirstLastFrameToVideo,
    WanFunControlToVideo,
    WanFunInpaintToVideo,
    WanImageToVideo,
    WanPhantomSubjectToVideo,
    WanVaceToVideo,
)
from tests.maths.recordings import error
from tests.tiny_umt5 import write_umt5
from tests.tiny_wan import LED, VACE, wan_tensors, write_wan
from tests.tiny_wan_vae import grouped_shape, write_wan_vae

CPU = Memory(mode="cpu")
TEXT, NOTHING = [[torch.ones(1, 5, 24), {"pooled_output": None}]], [[torch.zeros(1, 5, 24), {}]]
SIZE = {"width": 32, "height": 16, "length": 9, "batch_size": 1}
SIDES = {"positive": TEXT, "negative": NOTHING}


@pytest.fixture(scope="module")
def vae(tmp_path_factory):
    return load_vae(write_wan_vae(tmp_path_factory.mktemp("vae") / "vae.safetensors"), CPU)


@pytest.fixture(scope="module")
def later_vae(tmp_path_factory):
    return load_vae(write_wan_vae(tmp_path_factory.mktemp("vae") / "later.safetensors", grouped_shape()), CPU)


def pictures(count: int, seed: int = 0, size: tuple[int, int] = (16, 32)) -> Tensor:
    return torch.rand(count, *size, 3, generator=torch.manual_seed(seed))


def video(*parts: Tensor) -> Tensor:
    """Nine pictures of these; None are grey."""
    return torch.cat(parts)


def grey(count: int) -> Tensor:
    return torch.full((count, 16, 32, 3), 0.5)


def drawn(mask: Tensor) -> list[list[float]]:
    """A mask [1, 4, f, h, w], the same in every cell of a frame, as rows of frames."""
    assert torch.equal(mask, mask[..., :1, :1].expand_as(mask))
    return mask[0, :, :, 0, 0].T.tolist()


def test_a_picture_leads_both_sides(vae):
    first, seen = pictures(1), SimpleNamespace()
    found = WanImageToVideo().encode(**SIDES, vae=vae, **SIZE, start_image=first, clip_vision_output=seen)
    positive, negative, latent = found
    assert latent["samples"].shape == (1, 16, 3, 2, 4)
    assert not latent["samples"].any()
    for [[_, options]] in (positive, negative):
        assert error(options["concat_latent_image"], vae.encode(video(first, grey(8)))) < 1e-6
        assert drawn(options["concat_mask"]) == [[0.0] * 4, [1.0] * 4, [1.0] * 4]
        assert options["clip_vision_output"] is seen
    assert positive[0][0] is TEXT[0][0]
    assert "concat_mask" not in TEXT[0][1]


def test_several_first_pictures_are_given_where_they_stand(vae):
    found = WanImageToVideo().encode(**SIDES, vae=vae, **SIZE, start_image=pictures(6))
    assert drawn(found[0][0][1]["concat_mask"]) == [[0.0] * 4, [0.0] * 4, [0.0, 1.0, 1.0, 1.0]]


def test_without_a_picture_nothing_leads(vae):
    positive, negative, latent = WanImageToVideo().encode(**SIDES, vae=vae, **{**SIZE, "batch_size": 2})
    assert (positive, negative) == (TEXT, NOTHING)
    assert latent["samples"].shape == (2, 16, 3, 2, 4)


def test_pictures_are_cut_to_the_videos_size_and_length(vae):
    large = pictures(12, size=(32, 96))
    [[_, options]] = WanImageToVideo().encode(**SIDES, vae=vae, **SIZE, start_image=large)[0]
    assert options["concat_latent_image"].shape == (1, 16, 3, 2, 4)
    assert not options["concat_mask"].any()


def test_first_and_last_pictures_are_given_and_seen_in_a_row(vae):
    first, last = pictures(1), pictures(2, 1)
    seen = [
        SimpleNamespace(
            penultimate_hidden_states=torch.full((1, 3, 8), value), last_hidden_state=None, image_embeds=None
        )
        for value in (1.0, 2.0)
    ]
    both = {"clip_vision_start_image": seen[0], "clip_vision_end_image": seen[1]}
    found = WanFirstLastFrameToVideo().encode(**SIDES, vae=vae, **SIZE, start_image=first, end_image=last, **both)
    options = found[0][0][1]
    assert error(options["concat_latent_image"], vae.encode(video(first, grey(6), last))) < 1e-6
    assert drawn(options["concat_mask"]) == [[0.0] * 4, [1.0] * 4, [1.0, 1.0, 0.0, 0.0]]
    tokens = options["clip_vision_output"].penultimate_hidden_states
    assert tokens[0, :, 0].tolist() == [1.0] * 3 + [2.0] * 3


@pytest.mark.parametrize("end", ["start", "end"])
def test_one_of_the_two_pictures_is_enough(vae, end):
    seen, picture = SimpleNamespace(), pictures(1)
    given = {f"{end}_image": picture, f"clip_vision_{end}_image": seen}
    options = WanFirstLastFrameToVideo().encode(**SIDES, vae=vae, **SIZE, **given)[0][0][1]
    assert options["clip_vision_output"] is seen
    rows = drawn(options["concat_mask"])
    assert rows == ([[0.0] * 4, [1.0] * 4, [1.0] * 4] if end == "start" else [[1.0] * 4, [1.0] * 4, [1.0] * 3 + [0.0]])


def test_the_fun_networks_node_gives_the_same(vae):
    given = {"start_image": pictures(1), "end_image": pictures(1, 1)}
    seen = SimpleNamespace()
    ours = WanFunInpaintToVideo().encode(**SIDES, vae=vae, **SIZE, **given, clip_vision_output=seen)
    same = WanFirstLastFrameToVideo().encode(**SIDES, vae=vae, **SIZE, **given, clip_vision_start_image=seen)
    assert torch.equal(ours[1][0][1]["concat_latent_image"], same[1][0][1]["concat_latent_image"])
    assert torch.equal(ours[1][0][1]["concat_mask"], same[1][0][1]["concat_mask"])
    assert ours[0][0][1]["clip_vision_output"] is seen


def test_a_control_stands_before_the_first_picture(vae):
    control, first = pictures(9, 2), pictures(1)
    found = WanFunControlToVideo().encode(**SIDES, vae=vae, **SIZE, start_image=first, control_video=control)
    latents = found[0][0][1]["concat_latent_image"]
    assert latents.shape == (1, 32, 3, 2, 4)
    assert error(latents[:, :16], vae.encode(control)) < 1e-6
    assert error(latents[:, 16:, :1], vae.encode(first)) < 1e-6
    assert WAN21.process_in(latents[:, 16:, 1:]).abs().max() < 1e-5


def test_a_control_that_is_short_or_missing_is_nothing(vae):
    short = WanFunControlToVideo().encode(**SIDES, vae=vae, **SIZE, control_video=pictures(5))[0][0][1]
    assert WAN21.process_in(short["concat_latent_image"][:, :16, 2:]).abs().max() < 1e-5
    none = WanFunControlToVideo().encode(**SIDES, vae=vae, **SIZE)[0][0][1]
    assert WAN21.process_in(none["concat_latent_image"][:, :16]).abs().max() < 1e-5


def test_the_later_control_sees_a_picture_and_marks_none_as_given(vae):
    control, seen = pictures(9, 2), pictures(1)
    found = Wan22FunControlToVideo().encode(**SIDES, vae=vae, **SIZE, ref_image=seen, control_video=control)
    options = found[1][0][1]
    assert options["concat_latent_image"].shape == (1, 32, 3, 2, 4)
    assert options["concat_mask"].min() == 1.0
    [picture] = options["reference_latents"]
    assert error(picture, vae.encode(seen)) < 1e-6


def test_a_video_of_the_smaller_network_begins_with_its_picture(later_vae):
    first, size = pictures(1, size=(32, 64)), {"width": 64, "height": 32, "length": 9, "batch_size": 2}
    [latent] = Wan22ImageToVideoLatent().encode(later_vae, **size, start_image=first)
    assert latent["samples"].shape == (2, 48, 3, 2, 4)
    assert error(latent["samples"][:1, :, :1], later_vae.encode(first)) < 1e-6
    assert WAN22.process_in(latent["samples"][:, :, 1:]).abs().max() < 1e-5
    assert latent["noise_mask"].shape == (2, 1, 3, 2, 4)
    assert latent["noise_mask"][0, 0, :, 0, 0].tolist() == [0.0, 1.0, 1.0]
    [empty] = Wan22ImageToVideoLatent().encode(later_vae, **size)
    assert empty.keys() == {"samples"}
    assert not empty["samples"].any()


def test_what_stays_and_what_is_drawn_are_kept_apart(vae):
    control, mask = pictures(9, 2), torch.zeros(9, 16, 32)
    mask[:, :, 16:] = 1.0
    found = WanVaceToVideo().encode(**SIDES, vae=vae, **SIZE, strength=0.7, control_video=control, control_masks=mask)
    positive, _, latent, trim = found
    options = positive[0][1]
    assert (trim, latent["samples"].shape, options["vace_strength"]) == (0, (1, 16, 3, 2, 4), [0.7])
    [latents], [cells] = options["vace_frames"], options["vace_mask"]
    stays, anew = control.clone(), control.clone()
    stays[:, :, 16:], anew[:, :, :16] = 0.5, 0.5
    assert error(latents, torch.cat([vae.encode(stays), vae.encode(anew)], dim=1)) < 1e-5
    assert cells.shape == (1, 64, 3, 2, 4)
    assert not cells[..., :2].any()
    assert cells[..., 2:].min() == 1.0


def test_the_masks_pixels_are_channels_row_by_row(vae):
    mask = torch.zeros(1, 16, 32)
    mask[0, 3, 8 + 5] = 1.0  # row 3, column 5 of the second cell
    size = {**SIZE, "length": 1}
    found = WanVaceToVideo().encode(**SIDES, vae=vae, **size, strength=1.0, control_masks=mask)
    [cells] = found[0][0][1]["vace_mask"]
    assert cells.nonzero().tolist() == [[0, 3 * 8 + 5, 0, 0, 1]]


def test_a_picture_is_seen_before_the_video_and_taken_off_it(vae):
    seen = pictures(1, 3)
    found = WanVaceToVideo().encode(**SIDES, vae=vae, **SIZE, strength=1.0, reference_image=seen)
    positive, _, latent, trim = found
    assert (trim, latent["samples"].shape) == (1, (1, 16, 4, 2, 4))
    [latents], [cells] = positive[0][1]["vace_frames"], positive[0][1]["vace_mask"]
    assert latents.shape == (1, 32, 4, 2, 4)
    assert error(latents[:, :16, :1], vae.encode(seen)) < 1e-6
    assert WAN21.process_in(latents[:, 16:, :1]).abs().max() < 1e-5
    assert (cells[:, :, 0].any().item(), cells[:, :, 1:].min().item()) == (False, 1.0)
    [trimmed] = TrimVideoLatent().trim(latent, trim)
    assert trimmed["samples"].shape == (1, 16, 3, 2, 4)


def test_what_lacks_of_a_video_is_grey_and_drawn(vae):
    short, mask = pictures(5, 2), torch.zeros(5, 16, 32)
    found = WanVaceToVideo().encode(**SIDES, vae=vae, **SIZE, strength=1.0, control_video=short, control_masks=mask)
    [latents], [cells] = found[0][0][1]["vace_frames"], found[0][0][1]["vace_mask"]
    assert error(latents[:, :16], vae.encode(video(short, grey(4)))) < 1e-5
    assert cells[0, 0, :, 0, 0].tolist()[-1] == 1.0


def test_several_videos_are_kept_to_one_after_the_other(vae):
    first = WanVaceToVideo().encode(**SIDES, vae=vae, **SIZE, strength=0.5)
    given = {"positive": first[0], "negative": first[1]}
    second = WanVaceToVideo().encode(**given, vae=vae, **SIZE, strength=0.25)
    assert second[0][0][1]["vace_strength"] == [0.5, 0.25]
    assert len(second[1][0][1]["vace_frames"]) == 2
    assert first[0][0][1]["vace_strength"] == [0.5]


def test_pictures_of_subjects_are_seen_behind_the_video(vae):
    subjects = pictures(2, 5)
    found = WanPhantomSubjectToVideo().encode(**SIDES, vae=vae, **SIZE, images=subjects)
    positive, text, neither, latent = found
    seen = torch.cat([vae.encode(each[None]) for each in subjects], dim=2)
    assert error(positive[0][1]["time_dim_concat"], seen) < 1e-6
    assert torch.equal(text[0][1]["time_dim_concat"], positive[0][1]["time_dim_concat"])
    assert text[0][0] is neither[0][0] is NOTHING[0][0]
    assert WAN21.process_in(neither[0][1]["time_dim_concat"]).abs().max() < 1e-5
    assert latent["samples"].shape == (1, 16, 3, 2, 4)
    assert WanPhantomSubjectToVideo().encode(**SIDES, vae=vae, **SIZE)[:3] == (TEXT, NOTHING, NOTHING)


def test_frames_are_taken_off_latents_and_their_masks(vae):
    latent = {
        "samples": torch.arange(3.0).reshape(1, 1, 3, 1, 1),
        "noise_mask": torch.arange(3.0).reshape(1, 1, 3, 1, 1),
    }
    [trimmed] = TrimVideoLatent().trim(latent, 2)
    assert (trimmed["samples"].flatten().tolist(), trimmed["noise_mask"].flatten().tolist()) == ([2.0], [2.0])
    with pytest.raises(NodeInputError, match="works on videos' latents"):
        TrimVideoLatent().trim({"samples": torch.zeros(1, 4, 2, 2)}, 1)


def test_without_a_vae_the_input_is_named():
    with pytest.raises(NodeInputError, match="input 'vae': the checkpoint it comes from holds no VAE"):
        WanImageToVideo().encode(**SIDES, vae=None, **SIZE)


# ---------------------------------------------------------------- with networks


def sampled(model, positive, negative, latent, **steps: object) -> dict[str, Tensor]:
    settings = {"noise_seed": 3, "steps": 4, "cfg": 2.0, "sampler_name": "euler", "scheduler": "simple"}
    whole = {"add_noise": "enable", "start_at_step": 0, "end_at_step": 10000, "return_with_leftover_noise": "disable"}
    given = {**settings, **whole, **steps}
    sides = {"positive": positive, "negative": negative, "latent_image": latent}
    return KSamplerAdvanced().sample(model, **given, **sides)[0]


def test_two_networks_draw_a_video_one_after_the_other(tmp_path):
    high, low = (load_diffusion_model(write_wan(tmp_path / f"{seed}.safetensors", seed=seed), CPU) for seed in (1, 2))
    [empty] = EmptyHunyuanLatentVideo().generate(32, 16, 9)
    whole = sampled(high, TEXT, NOTHING, empty)
    first = sampled(high, TEXT, NOTHING, empty, end_at_step=2, return_with_leftover_noise="enable")
    rest = {"add_noise": "disable", "start_at_step": 2}
    same, other = (sampled(model, TEXT, NOTHING, first, **rest) for model in (high, low))
    assert error(same["samples"], whole["samples"]) < 1e-5
    assert error(other["samples"], whole["samples"]) > 1e-3


def test_a_picture_leads_what_is_drawn_and_it_is_decoded(tmp_path, vae):
    model = load_diffusion_model(write_wan(tmp_path / "led.safetensors", **LED), CPU)
    found = []
    for seed in (0, 1):
        positive, negative, latent = WanImageToVideo().encode(**SIDES, vae=vae, **SIZE, start_image=pictures(1, seed))
        [images] = VAEDecode().decode(vae, sampled(model, positive, negative, latent))
        found.append(images)
    assert found[0].shape == (9, 16, 32, 3)
    assert error(*found) > 1e-3


def test_a_video_is_kept_to_what_a_node_says(tmp_path, vae):
    model = load_diffusion_model(write_wan(tmp_path / "vace.safetensors", **VACE), CPU)
    found = []
    for strength in (0.0, 1.0):
        given = {"strength": strength, "control_video": pictures(9, 2), "reference_image": pictures(1, 3)}
        positive, negative, latent, trim = WanVaceToVideo().encode(**SIDES, vae=vae, **SIZE, **given)
        [trimmed] = TrimVideoLatent().trim(sampled(model, positive, negative, latent), trim)
        found.append(trimmed["samples"])
    assert found[0].shape == (1, 16, 3, 2, 4)
    assert error(*found) > 1e-3


# ---------------------------------------------------------------- nodes of latents


def test_latents_with_frames_are_put_together_turned_and_scaled():
    first, second = {"samples": torch.randn(1, 16, 3, 2, 4)}, {"samples": torch.randn(1, 16, 3, 4, 8)}
    [both] = LatentBatch().batch(first, second)
    assert both["samples"].shape == (2, 16, 3, 2, 4)
    [flipped] = LatentFlip().flip(first, "x-axis: vertically")
    assert torch.equal(flipped["samples"], first["samples"].flip(-2))
    [turned] = LatentRotate().rotate(first, "90 degrees")
    assert torch.equal(turned["samples"], torch.rot90(first["samples"], 1, (-1, -2)))
    [larger] = LatentUpscaleBy().upscale(first, "bilinear", 2.0)
    assert larger["samples"].shape == (1, 16, 3, 4, 8)
    [cut] = LatentCrop().crop({"samples": torch.randn(1, 16, 3, 12, 12)}, 64, 72, 8, 16)
    assert cut["samples"].shape == (1, 16, 3, 9, 8)
    [blended] = LatentBlend().blend(first, second, 0.5)
    assert blended["samples"].shape == first["samples"].shape


def test_a_part_is_pasted_into_each_frame():
    target, source = torch.zeros(1, 16, 3, 4, 4), torch.ones(1, 16, 3, 2, 2)
    [found] = LatentComposite().composite({"samples": target}, {"samples": source}, 8, 16)
    assert found["samples"][0, 0, 2].nonzero().tolist() == [[2, 1], [2, 2], [3, 1], [3, 2]]


@pytest.mark.parametrize("join", [LatentBatch().batch, LatentAdd().add])
def test_videos_of_two_lengths_are_not_joined(join):
    with pytest.raises(NodeInputError, match="videos of 3 and 2 latent frames, which cannot be joined"):
        join({"samples": torch.zeros(1, 16, 3, 2, 2)}, {"samples": torch.zeros(1, 16, 2, 2, 2)})


def test_masks_of_videos_go_with_them():
    mask = torch.rand(2, 1, 3, 2, 4)
    latent = {"samples": torch.randn(2, 16, 3, 2, 4), "noise_mask": mask}
    [batches] = RebatchLatents().rebatch([latent], [1])
    assert [each["noise_mask"].shape for each in batches] == [(1, 1, 3, 2, 4)] * 2
    [whole] = RebatchLatents().rebatch(batches, [2])[0]
    assert torch.equal(whole["noise_mask"], mask)
    [second] = LatentFromBatch().frombatch(latent, 1, 1)
    assert torch.equal(second["noise_mask"], mask[1:])
    of_frames = {**latent, "noise_mask": torch.rand(3, 1, 16, 32)}
    [second] = LatentFromBatch().frombatch(of_frames, 1, 1)
    assert torch.equal(second["noise_mask"], of_frames["noise_mask"])
    [thrice] = RepeatLatentBatch().repeat(of_frames, 3)
    assert torch.equal(thrice["noise_mask"], of_frames["noise_mask"])
    assert RebatchLatents().rebatch([of_frames], [2])[0][0]["noise_mask"].shape == (2, 1, 3, 2, 4)


def test_latents_with_frames_are_sharpened_frame_by_frame():
    latents = torch.randn(2, 16, 3, 6, 6)
    [operation] = LatentOperationSharpen().op(3, 1.0, 0.2)
    [found] = LatentApplyOperation().op({"samples": latents}, operation)
    assert error(found["samples"][:, :, 1], operation(latent=latents[:, :, 1])) < 1e-5


def test_latents_with_frames_are_saved_and_loaded(place):
    samples = torch.randn(1, 16, 3, 2, 4)
    SaveLatent().save({"samples": samples}, "latents/video")
    [path] = place.folders.root("output").rglob("*.latent")
    path.rename(place.folders.root("input") / "video.latent")
    assert torch.equal(LoadLatent().load("video.latent")[0]["samples"], samples)


# ---------------------------------------------------------------- files


def test_a_text_encoder_is_saved_with_its_vocabulary(place, tmp_path):
    clip = load_text_encoder([write_umt5(tmp_path / "umt5.safetensors")], "wan", CPU)
    CLIPSave().save(clip, "clip/mine")
    [path] = place.folders.root("output").rglob("*.safetensors")
    again = load_text_encoder([path], "wan", CPU)
    assert torch.equal(again.encode("a cat")[0][0], clip.encode("a cat")[0][0])


def test_a_checkpoint_is_saved_whole(place, tmp_path, vae):
    clip = load_text_encoder([write_umt5(tmp_path / "umt5.safetensors")], "wan", CPU)
    tensors = wan_tensors(width=128, heads=1, blocks=1)
    save_file(tensors, tmp_path / "wan.safetensors")
    model = load_diffusion_model(tmp_path / "wan.safetensors", CPU)
    CheckpointSave().save(model, clip, vae, "checkpoints/mine")
    [path] = place.folders.root("output").rglob("*.safetensors")
    again = load_checkpoint(path, CPU)
    assert again.model.family == "wan"
    assert again.vae.get_sd().keys() == vae.get_sd().keys()
    assert torch.equal(again.clip.encode("a cat")[0][0], clip.encode("a cat")[0][0])
    assert all(torch.equal(again.model.model.part.weights[name], each) for name, each in tensors.items())


def test_a_network_is_saved_by_itself(place, tmp_path):
    save_file(wan_tensors(width=128, heads=1, blocks=1), tmp_path / "wan.safetensors")
    model = load_diffusion_model(tmp_path / "wan.safetensors", CPU)
    ModelSave().save(model, "diffusion_models/mine")
    [path] = place.folders.root("output").rglob("*.safetensors")
    assert load_diffusion_model(path, CPU).model.part.module.shape == model.model.part.module.shape


def test_networks_are_mixed_layer_by_layer(tmp_path):
    models = [load_diffusion_model(write_wan(tmp_path / f"{seed}.safetensors", seed=seed), CPU) for seed in (0, 1)]
    first, second = (each.patched_weights() for each in models)
    (mixed,) = ModelMergeWAN2_1().merge(*models, **{"patch_embedding.": 1.0, "blocks.1.": 0.25, "head.": 0.0})
    found = mixed.patched_weights()
    for key, share in {"blocks.1.modulation": 0.25, "head.head.weight": 0.0, "patch_embedding.weight": 1.0}.items():
        torch.testing.assert_close(found[key], share * first[key] + (1 - share) * second[key])


def test_layers_may_be_skipped_on_the_negative_side(tmp_path):
    model = load_diffusion_model(write_wan(tmp_path / "wan.safetensors"), CPU)
    [empty] = EmptyHunyuanLatentVideo().generate(32, 16, 9)
    settings = {"double_layers": "1", "single_layers": "", "scale": 3.0, "start_percent": 0.0, "end_percent": 1.0}
    (skipping,) = SkipLayerGuidanceDiT().skip_guidance(model, **settings, rescaling_scale=0.0)
    plain, led = (sampled(each, TEXT, NOTHING, empty)["samples"] for each in (model, skipping))
    assert error(led, plain) > 1e-3


def test_windows_along_the_frames_are_set_by_their_node(tmp_path):
    model = load_diffusion_model(write_wan(tmp_path / "wan.safetensors"), CPU)
    ways = {"context_schedule": "standard_static", "context_stride": 1, "closed_loop": False, "fuse_method": "pyramid"}
    [cut] = WanContextWindowsManual().execute(model, context_length=5, context_overlap=1, **ways)
    [empty] = EmptyHunyuanLatentVideo().generate(32, 16, 17)
    seen = []

    def spied(network, called):
        seen.append(called["input"].shape[2])
        return network(called["input"], called["timestep"], **called["c"])

    cut.set_model_unet_function_wrapper(spied)
    assert sampled(cut, TEXT, NOTHING, empty)["samples"].shape == (1, 16, 5, 2, 4)
    assert set(seen) == {2}


def test_latents_of_videos_are_combined_to_their_pictures(vae):
    samples = torch.randn(2, 16, 3, 2, 4)
    frames = DecodedLatents({"samples": samples}, vae)
    whole = vae.decode(samples).flatten(0, 1)
    assert len(frames) == len(whole) == 18
    assert all(error(frames[number], whole[number]) < 1e-6 for number in (0, 8, 9, 17, 3))
    assert len(DecodedLatents({"samples": samples[:, :, 0]}, vae)) == 2
