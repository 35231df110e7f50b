"""The default Cutout suits 32x32 images; on 8x8 digits it would train on nothing."""

from spikeproof.data import load_data
from spikeproof.models import create_model
from spikeproof.train import TrainConfig, train


def test_a_hole_as_large_as_the_image_is_refused_before_anything_is_written(tmp_path, refuses):
    data = load_data("digits", validation=50, train_limit=64)
    model = create_model("conv", num_classes=10, image_size=8, in_channels=1)
    with refuses("Cutout of 16", "8x8", "augmentation=None"):
        train(model, data, config=TrainConfig(epochs=1), out=tmp_path / "run", show=False)
    assert not (tmp_path / "run").exists()
