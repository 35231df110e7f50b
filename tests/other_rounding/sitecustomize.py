"""Play a machine that rounds otherwise: with this folder on PYTHONPATH and ROUNDING=1, 2, ... every process does.

Real ones differ in the order in which convolutions and linear layers add up. Here each output is off by about the
last bit, always by the same pattern for the same shape, so that one machine agrees with itself, but not with a batch
of another size. float64 is left alone: tests may ask for exactness there.
"""

import os

if os.environ.get("ROUNDING"):
    import functools

    import numpy
    import torch
    from torch.nn import functional

    @functools.cache
    def pattern(shape, dtype):
        drawn = numpy.random.default_rng([int(os.environ["ROUNDING"]), *shape]).standard_normal(shape[1:])
        if dtype == torch.bfloat16:  # sums of float32, rounded once: few of them end at another number
            drawn = numpy.sign(drawn) * (numpy.abs(drawn) > 3.5)
        return (1 + torch.finfo(dtype).eps * torch.from_numpy(drawn)).to(dtype)

    def otherwise(layer):
        def rounding(*arguments, **options):
            out = layer(*arguments, **options)
            traced = torch.jit.is_tracing() or torch.compiler.is_compiling()  # shapes are no numbers there
            if traced or torch._C._functorch.maybe_current_level() is not None:
                return out
            if out.device.type != "cpu" or out.dtype not in (torch.float32, torch.bfloat16) or not out.numel():
                return out
            return out * pattern(tuple(out.shape), out.dtype)

        return rounding

    functional.conv2d, functional.linear = otherwise(functional.conv2d), otherwise(functional.linear)
