"""Models and their clones."""

import torch

from executor.inference.checkpoint import Checkpoint


def test_a_clone_has_options_of_its_own(tiny: Checkpoint):
    clone = tiny.model.clone()
    clone.model_options["transformer_options"]["patches"] = [1]
    assert "patches" not in tiny.model.model_options["transformer_options"]


def test_a_clone_shares_the_weights(tiny: Checkpoint):
    assert tiny.model.clone().model is tiny.model.model


def test_a_clone_knows_where_it_comes_from(tiny: Checkpoint):
    clone = tiny.model.clone()
    assert clone.parent is tiny.model
    assert clone.id != tiny.model.id


def test_functions_in_options_are_shared(tiny: Checkpoint):
    def hook() -> None:
        """A pack's function."""

    tiny.model.model_options["hooks"] = [hook]
    assert tiny.model.clone().model_options["hooks"][0] is hook


def test_denoised_latents_have_the_shape_of_noisy_ones(tiny: Checkpoint):
    tiny.model.load()
    with torch.no_grad():
        denoised = tiny.model.model.apply(
            torch.randn(2, 4, 8, 12), torch.tensor([14.0, 1.0]), context=torch.randn(2, 77, 32)
        )
    assert (denoised.shape, denoised.dtype) == ((2, 4, 8, 12), torch.float32)


def test_rows_of_a_batch_do_not_mix(tiny: Checkpoint):
    tiny.model.load()
    x, sigma, context = torch.randn(2, 4, 8, 8), torch.tensor([14.0, 1.0]), torch.randn(2, 77, 32)
    apply = tiny.model.model.apply
    with torch.no_grad():
        both = apply(x, sigma, context=context)
        second = apply(x[1:], sigma[1:], context=context[1:])
    torch.testing.assert_close(both[1:], second, rtol=1e-4, atol=1e-4)


def test_room_for_a_call_grows_with_the_picture(tiny: Checkpoint):
    model = tiny.model.model
    assert model.working_bytes(torch.Size((1, 4, 64, 64))) == 4 * model.working_bytes(torch.Size((1, 4, 32, 32)))


def test_the_model_is_the_size_of_its_weights(tiny: Checkpoint):
    assert tiny.model.nbytes == sum(w.nbytes for w in tiny.model.model.part.weights.values())
