"""The types that only links carry, by the names packs know. Knows no schema.

Source of the names: reference/execution.md section 14.
"""

from __future__ import annotations

from typing import ClassVar, TypedDict

from executor.contract.v3.sockets import ComfyTypeIO, comfytype, new_type


@comfytype(io_type="LATENT")
class Latent(ComfyTypeIO):
    """Latents with what belongs to them."""

    class LatentDict(TypedDict, total=False):
        """`samples` [B, C, H, W], and a mask and place in a batch if they have one."""

        samples: object
        noise_mask: object
        batch_index: list[int]
        type: str

    Type: ClassVar[object] = LatentDict


@comfytype(io_type="CONDITIONING")
class Conditioning(ComfyTypeIO):
    """What a model is asked for."""

    class PooledDict(TypedDict, total=False):
        """What stands beside an embedding."""

        pooled_output: object

    CondList: ClassVar[object] = list[tuple[object, PooledDict]]
    Type: ClassVar[object] = list[tuple[object, PooledDict]]


@comfytype(io_type="AUDIO")
class Audio(ComfyTypeIO):
    """Sound."""

    class AudioDict(TypedDict):
        """`waveform` [B, C, T] and its samples per second."""

        waveform: object
        sample_rate: int

    Type: ClassVar[object] = AudioDict


Image = new_type("Image", "IMAGE")
Mask = new_type("Mask", "MASK")
Sampler = new_type("Sampler", "SAMPLER")
Sigmas = new_type("Sigmas", "SIGMAS")
Noise = new_type("Noise", "NOISE")
Guider = new_type("Guider", "GUIDER")
Clip = new_type("Clip", "CLIP")
ControlNet = new_type("ControlNet", "CONTROL_NET")
Vae = new_type("Vae", "VAE")
Model = new_type("Model", "MODEL")
ModelPatch = new_type("ModelPatch", "MODEL_PATCH")
MODEL_PATCH = ModelPatch
ClipVision = new_type("ClipVision", "CLIP_VISION")
ClipVisionOutput = new_type("ClipVisionOutput", "CLIP_VISION_OUTPUT")
AudioEncoder = new_type("AudioEncoder", "AUDIO_ENCODER")
AudioEncoderOutput = new_type("AudioEncoderOutput", "AUDIO_ENCODER_OUTPUT")
StyleModel = new_type("StyleModel", "STYLE_MODEL")
Gligen = new_type("Gligen", "GLIGEN")
UpscaleModel = new_type("UpscaleModel", "UPSCALE_MODEL")
LatentUpscaleModel = new_type("LatentUpscaleModel", "LATENT_UPSCALE_MODEL")
Video = new_type("Video", "VIDEO")
SVG = new_type("SVG", "SVG")
LoraModel = new_type("LoraModel", "LORA_MODEL")
LossMap = new_type("LossMap", "LOSS_MAP")
Voxel = new_type("Voxel", "VOXEL")
Mesh = new_type("Mesh", "MESH")
File3DAny = new_type("File3DAny", "FILE_3D")
File3DGLB = new_type("File3DGLB", "FILE_3D_GLB")
File3DGLTF = new_type("File3DGLTF", "FILE_3D_GLTF")
File3DFBX = new_type("File3DFBX", "FILE_3D_FBX")
File3DOBJ = new_type("File3DOBJ", "FILE_3D_OBJ")
File3DSTL = new_type("File3DSTL", "FILE_3D_STL")
File3DUSDZ = new_type("File3DUSDZ", "FILE_3D_USDZ")
Hooks = new_type("Hooks", "HOOKS")
HookKeyframes = new_type("HookKeyframes", "HOOK_KEYFRAMES")
TimestepsRange = new_type("TimestepsRange", "TIMESTEPS_RANGE")
LatentOperation = new_type("LatentOperation", "LATENT_OPERATION")
FlowControl = new_type("FlowControl", "FLOW_CONTROL")
Accumulation = new_type("Accumulation", "ACCUMULATION")
Load3DCamera = new_type("Load3DCamera", "LOAD3D_CAMERA")
Load3D = new_type("Load3D", "LOAD_3D")
Load3DAnimation = new_type("Load3DAnimation", "LOAD_3D_ANIMATION")
Photomaker = new_type("Photomaker", "PHOTOMAKER")
Point = new_type("Point", "POINT")
FaceAnalysis = new_type("FaceAnalysis", "FACE_ANALYSIS")
BBOX = new_type("BBOX", "BBOX")
SEGS = new_type("SEGS", "SEGS")
WanCameraEmbedding = new_type("WanCameraEmbedding", "WAN_CAMERA_EMBEDDING")
Tracks = new_type("Tracks", "TRACKS")
ImageCompare = new_type("ImageCompare", "IMAGECOMPARE")
AnyType = new_type("AnyType", "*")
