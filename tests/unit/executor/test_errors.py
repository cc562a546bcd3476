"""The error tree: messages name the thing and the nearest that exists."""

from executor.errors import InvalidPrompt, ModelFileError, UnknownName, nearest


def test_unknown_name_suggests_the_nearest() -> None:
    assert "did you mean 'KSampler'?" in str(UnknownName("node", "KSampelr", ["KSampler", "VAEDecode"]))


def test_unknown_name_is_silent_when_nothing_is_near() -> None:
    assert str(UnknownName("node", "xyz", ["KSampler"])) == "there is no node 'xyz'"


def test_nearest_ignores_case() -> None:
    assert nearest("ksampler", ["KSampler"]) == "KSampler"


def test_nearest_of_a_name_no_file_can_have_is_none() -> None:
    assert nearest("k" * 300, ["k" * 299]) is None


def test_invalid_prompt_has_the_body_clients_expect() -> None:
    body = InvalidPrompt("no_prompt", "No prompt provided", "No prompt provided").body()
    assert body == {
        "error": {
            "type": "no_prompt",
            "message": "No prompt provided",
            "details": "No prompt provided",
            "extra_info": {},
        },
        "node_errors": {},
    }


def test_model_file_error_names_file_reason_and_fit() -> None:
    error = ModelFileError("/models/checkpoints/x.safetensors", "the file is cut off", "download it again")
    assert str(error) == "x.safetensors: the file is cut off; download it again"
