"""Images and labels as uint8 tensors, and their augmentation on the device they live on."""

from spikeproof.data.augment import Augmentation
from spikeproof.data.event_sets import load_frames, load_tonic
from spikeproof.data.image_set import Data, ImageSet
from spikeproof.data.load import load_data

__all__ = ["Augmentation", "Data", "ImageSet", "load_data", "load_frames", "load_tonic"]
