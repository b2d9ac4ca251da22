"""Images from files, folders, arrays and the Hugging Face hub, with splits, sizes and value ranges made explicit."""

from vqkit.data.dataset import ImageDataset
from vqkit.data.fitting import load_images_as, read_pictures_as
from vqkit.data.registry import load_images
from vqkit.data.spec import ImageSpec

__all__ = ["ImageDataset", "ImageSpec", "load_images", "load_images_as", "read_pictures_as"]
