"""The nodes that Weft brings along, a file per topic. Importing this imports none of them: see `MODULES`."""

MODULES = (
    "loaders",
    "conditioning",
    "latent",
    "latent_batch",
    "latent_io",
    "vae",
    "inpaint",
    "sampling",
    "custom_sampling",
    "image",
    "image_edit",
    "image_io",
    "animation",
    "mask",
    "mask_edit",
    "compositing",
    "primitive",
    "text",
    "preview",
)
"""Files whose NODES tuples are listed, in the order of the listing."""
