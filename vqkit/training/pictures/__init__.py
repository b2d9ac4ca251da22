"""Pictures of a run that a person wants to look at."""

from vqkit.training.pictures.atlas import draw_atlas
from vqkit.training.pictures.codebook import draw_codebook, mean_patches
from vqkit.training.pictures.curves import draw_curves
from vqkit.training.pictures.index_maps import draw_index_maps
from vqkit.training.pictures.reconstructions import draw_reconstructions
from vqkit.training.pictures.run import draw_run, spread
from vqkit.training.pictures.samples import draw_samples, random_codes
from vqkit.training.pictures.usage import draw_usage

__all__ = [
    "draw_atlas",
    "draw_codebook",
    "draw_curves",
    "draw_index_maps",
    "draw_reconstructions",
    "draw_run",
    "draw_samples",
    "draw_usage",
    "mean_patches",
    "random_codes",
    "spread",
]
