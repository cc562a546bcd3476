"""Tests of tests/gpu on a device that is pretended: those that it can run in seconds.

So they are known to be right before they meet a device, whose minutes are few, and the code that only a GPU runs is
run here. The quick ones belong to every run, the others to the long one.
"""

import pytest

from tests.gpu.test_cuda_graphs import (  # noqa: F401
    path,
    test_a_failed_recording_leaves_the_device_usable,
    test_a_lora_is_seen_and_taken_off,
    test_a_recorded_sampling_is_equal_to_the_bit,
    test_freeu_is_recorded_and_equal_to_the_bit,
    test_recordings_give_their_memory_back,
    test_shapes_by_turns_are_equal_to_the_bit,
)
from tests.gpu.test_eight_bits import (  # noqa: F401
    test_a_network_by_8_bit_products_is_near_and_recorded,
    test_a_product_is_near_the_plain_one,
    test_no_product_waits,
)
from tests.gpu.test_flux import (  # noqa: F401
    flux,
    test_a_recorded_sampling_of_flux_is_equal_to_the_bit,
    test_flux_draws_near_what_the_cpu_draws,
    test_no_step_of_flux_waits,
    test_streamed_weights_of_flux_draw_the_same,
    test_weights_of_8_bits_of_flux_draw_near_it,
)
from tests.gpu.test_layout import (  # noqa: F401
    test_attention_kernels_are_measured_and_kept,
    test_each_way_draws_the_picture,
    test_maps_stay_by_cells_all_the_way,
)
from tests.gpu.test_memory import (  # noqa: F401
    test_a_device_without_room_tells_its_figures_and_draws_the_next_prompt,
    test_two_hundred_prompts_of_three_models_do_not_grow,
)
from tests.gpu.test_no_waiting import (  # noqa: F401
    checkpoint,
    test_a_mask_makes_no_step_wait,
    test_an_adaptive_sampler_is_caught,
    test_no_step_waits,
)
from tests.gpu.test_parity import (  # noqa: F401
    recording,
    test_a_recorded_sampling_ends_alike,
    test_half_precision_draws_the_same_picture,
)
from tests.gpu.test_previews import test_a_picture_made_beside_is_the_same  # noqa: F401
from tests.gpu.test_qwen_image import (  # noqa: F401
    networks,
    test_a_recorded_sampling_of_qwen_is_equal_to_the_bit,
    test_no_step_of_qwen_waits,
    test_streamed_weights_of_qwen_draw_the_same,
    test_weights_of_8_bits_of_qwen_draw_near_it,
    test_what_is_drawn_of_qwen_is_near_what_the_cpu_draws,
    test_words_and_pictures_of_qwen_are_read_as_on_the_cpu,
)
from tests.gpu.test_texts import folder, test_a_text_is_read_as_on_the_cpu  # noqa: F401
from tests.gpu.test_wan import (  # noqa: F401
    test_a_recorded_sampling_of_wan_is_equal_to_the_bit,
    test_no_step_of_wan_waits,
    test_streamed_weights_of_wan_draw_the_same,
    test_videos_are_encoded_and_decoded_near_what_the_cpu_makes,
    test_wan_draws_near_what_the_cpu_draws,
    test_weights_of_8_bits_of_wan_draw_near_it,
    wans,
)

pytestmark: list[pytest.MarkDecorator] = []
