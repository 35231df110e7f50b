"""Make the files beside this one anew: ``python train.py``. Tests then meet other networks; run all of them."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch.nn.functional import cross_entropy

from spikeproof.data import load_data

sys.path.insert(0, str(Path(__file__).parents[1]))
from digit_networks import FOLDER, STEPS, new_network  # noqa: E402

EPOCHS = {"learned": 12, "tiny": 6}


def main() -> None:
    train = load_data("digits", validation=100).train
    images, labels = train.images.float() / 255, train.labels
    for name in STEPS:
        torch.manual_seed(0)
        model = new_network(name)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS[name])
        for _ in range(EPOCHS[name]):
            for rows in torch.randperm(len(labels)).split(64):
                optimizer.zero_grad()
                cross_entropy(model(images[rows]), labels[rows]).backward()
                optimizer.step()
            schedule.step()
        weights = {key: value.contiguous() for key, value in model.bfloat16().state_dict().items()}
        save_file(weights, FOLDER / f"{name}.safetensors")


if __name__ == "__main__":
    main()
