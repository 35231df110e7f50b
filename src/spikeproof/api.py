"""All that ``import spikeproof as sp`` offers."""

from spikeproof.attacks import Attacked, Crafting, apgd, bim, fgsm, judge, local_search, pgd, rfgsm, sa_pgd
from spikeproof.audit import Audit, AuditConfig, audit
from spikeproof.certify import CertifyConfig, Smoothed, certify
from spikeproof.coding import *  # noqa: F403
from spikeproof.coding import CODINGS
from spikeproof.data import Augmentation, Data, ImageSet, load_data, load_frames, load_tonic
from spikeproof.defenses import *  # noqa: F403
from spikeproof.defenses import DEFENSES, Defense
from spikeproof.errors import SpikeproofError
from spikeproof.gradients import ASSG, BPTR, BPTT, HART, PDSG, RGA, Around, Mixed, ReluTransfer
from spikeproof.harden import Hardened, harden
from spikeproof.hub import export_nir, export_onnx
from spikeproof.insight import describe_sites
from spikeproof.interop import adapt
from spikeproof.models import create_model, load_model, save_model
from spikeproof.report import write_report
from spikeproof.spiking import ArcTan, Neuron, Rectangular, Sigmoid, Site, SuperSpike, Triangle, probe, sites
from spikeproof.threat import L2, Linf
from spikeproof.train import Run, TrainConfig, train

__all__ = [
    *(kind.__name__ for kind in DEFENSES.values()),
    *CODINGS,
    "ArcTan",
    "Around",
    "ASSG",
    "Attacked",
    "Audit",
    "AuditConfig",
    "Augmentation",
    "BPTR",
    "BPTT",
    "CertifyConfig",
    "Crafting",
    "Data",
    "Defense",
    "Hardened",
    "HART",
    "ImageSet",
    "L2",
    "Linf",
    "Mixed",
    "Neuron",
    "PDSG",
    "Rectangular",
    "ReluTransfer",
    "RGA",
    "Run",
    "Sigmoid",
    "Site",
    "Smoothed",
    "SpikeproofError",
    "SuperSpike",
    "TrainConfig",
    "Triangle",
    "adapt",
    "apgd",
    "audit",
    "certify",
    "bim",
    "create_model",
    "describe_sites",
    "export_nir",
    "export_onnx",
    "fgsm",
    "harden",
    "judge",
    "load_data",
    "load_frames",
    "load_model",
    "load_tonic",
    "local_search",
    "pgd",
    "probe",
    "rfgsm",
    "sa_pgd",
    "save_model",
    "sites",
    "train",
    "write_report",
]
