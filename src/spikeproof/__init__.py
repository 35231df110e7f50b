"""spikeproof: train, attack, audit and report adversarially robust spiking neural networks.

import spikeproof as sp

data = sp.load_data("digits", validation=200)
model = sp.create_model("conv", num_classes=10, image_size=8, in_channels=1, mean=data.mean, std=data.std)
defenses = [sp.AdversarialTraining(eps=0.1), sp.MPDSGR(eta=0.3)]
run = sp.train(model, data, defenses, sp.TrainConfig(augmentation=None), out="runs/mine")
found = sp.audit(model, data.test, threat=sp.Linf(0.1), validation=data.validation)
found.save("runs/mine")
sp.write_report(["runs/mine"], "report.html")
"""

from spikeproof.attacks import Attacked, Crafting, apgd, bim, fgsm, judge, pgd, rfgsm, sa_pgd
from spikeproof.audit import Audit, AuditConfig, audit
from spikeproof.coding import RSC, SQE, Direct, Frequency, Poisson, SignedRate
from spikeproof.data import Augmentation, Data, ImageSet, load_data
from spikeproof.defenses import (
    DLIF,
    DSD,
    FEEL,
    HIRE,
    LSG,
    MART,
    MPDSGR,
    NDL,
    REG,
    SR,
    TGO,
    TRADES,
    AdversarialTraining,
    Defense,
    Dspike,
    FreeAdversarialTraining,
    HoSNN,
    LearnableWidth,
    RandHet,
    RecDis,
    RMPLoss,
    StoG,
)
from spikeproof.errors import SpikeproofError
from spikeproof.gradients import Assg, Bptr, Bptt, Hart, Mixed, Pdsg, ReluTransfer, Rga
from spikeproof.insight import describe_sites
from spikeproof.models import create_model, load_model, save_model
from spikeproof.report import write_report
from spikeproof.spiking import ArcTan, Neuron, Rectangular, Sigmoid, Site, SuperSpike, Triangle, probe, sites
from spikeproof.threat import L2, Linf
from spikeproof.train import Run, TrainConfig, train
from spikeproof.version import __version__

__all__ = [
    "AdversarialTraining",
    "ArcTan",
    "Assg",
    "Attacked",
    "Audit",
    "AuditConfig",
    "Augmentation",
    "Bptr",
    "Bptt",
    "Crafting",
    "DLIF",
    "DSD",
    "Data",
    "Defense",
    "Direct",
    "Dspike",
    "FEEL",
    "FreeAdversarialTraining",
    "Frequency",
    "HIRE",
    "Hart",
    "HoSNN",
    "ImageSet",
    "L2",
    "LSG",
    "LearnableWidth",
    "Linf",
    "MART",
    "MPDSGR",
    "Mixed",
    "NDL",
    "Neuron",
    "Pdsg",
    "Poisson",
    "REG",
    "RMPLoss",
    "RSC",
    "RandHet",
    "RecDis",
    "Rectangular",
    "ReluTransfer",
    "Rga",
    "Run",
    "SQE",
    "SR",
    "Sigmoid",
    "SignedRate",
    "Site",
    "SpikeproofError",
    "StoG",
    "SuperSpike",
    "TGO",
    "TRADES",
    "TrainConfig",
    "Triangle",
    "__version__",
    "apgd",
    "audit",
    "bim",
    "create_model",
    "describe_sites",
    "fgsm",
    "judge",
    "load_data",
    "load_model",
    "pgd",
    "probe",
    "rfgsm",
    "sa_pgd",
    "save_model",
    "sites",
    "train",
    "write_report",
]
