"""The model families that files are matched against, one file each."""

from collections.abc import Sequence

from executor.inference.families.base import Family
from executor.inference.families.flux import FLUX_1
from executor.inference.families.qwen_image import QWEN_IMAGE
from executor.inference.families.sd2 import SD2, SD2_UNCLIP
from executor.inference.families.sd3 import SD3
from executor.inference.families.sd15 import SD15
from executor.inference.families.sd_x4 import SD_X4
from executor.inference.families.sdxl import SDXL, SDXL_REFINER
from executor.inference.families.svd import SV3D, SVD
from executor.inference.families.wan import WAN
from executor.inference.families.zero123 import ZERO123
from executor.inference.seams import seam

FAMILIES: tuple[Family, ...] = (
    SD15,
    SD_X4,
    SD2,
    SD2_UNCLIP,
    SDXL_REFINER,
    SDXL,
    SVD,
    SV3D,
    ZERO123,
    FLUX_1,
    SD3,
    WAN,
    QWEN_IMAGE,
)


@seam("supported_models.models")
def families() -> Sequence[Family]:
    """The families that files are matched against."""
    return FAMILIES
