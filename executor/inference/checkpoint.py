"""Opens a checkpoint file as the three things nodes pass on: model, text encoder, VAE. Knows no family."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from executor.inference.detect import detect
from executor.inference.families import FAMILIES
from executor.inference.families.base import Family
from executor.inference.handle import DiffusionModel, ModelHandle
from executor.inference.memory import Memory
from executor.inference.text.clip import Clip
from executor.inference.text.embeddings import Embeddings
from executor.inference.text.tokens import ChunkTokenizer
from executor.inference.vae import Vae
from executor.inference.weights import read_weights


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """What one checkpoint file holds."""

    model: ModelHandle
    clip: Clip
    vae: Vae


def load_checkpoint(
    path: Path,
    memory: Memory,
    *,
    embedding_folders: Sequence[Path] = (),
    families: Sequence[Family] = FAMILIES,
) -> Checkpoint:
    """The model, text encoder and VAE of a file; weights stay mapped until they are used.

    Raises ModelFileError when the file is broken, of no known family, or incomplete.
    """
    file = read_weights(path)
    family, detection = detect(file, families)
    parts = family.build(file, detection)
    model = DiffusionModel(part=parts.diffusion, sampling=family.sampling(), width=parts.width)
    text_width = parts.text.module.shape.width
    return Checkpoint(
        model=ModelHandle(model=model, family=family.name, latent_format=family.latent_format, memory=memory),
        clip=Clip(
            part=parts.text,
            tokenizer=ChunkTokenizer(embeddings=Embeddings(folders=embedding_folders, width=text_width)),
            memory=memory,
        ),
        vae=Vae(part=parts.vae, memory=memory),
    )
