"""The model families that files are matched against, one file each."""

from executor.inference.families.base import Family
from executor.inference.families.sd15 import SD15

FAMILIES: tuple[Family, ...] = (SD15,)
