"""What this machine computes with. It knows processors and GPUs, no models."""

from __future__ import annotations

from typing import Any

import torch

BF16 = ("avx512_bf16", "amx_bf16")
"""Instructions of x86 processors that multiply bfloat16 numbers."""
INT8 = ("avx512_vnni", "avx_vnni", "amx_int8")
"""Those that multiply 8-bit numbers."""


def has_bf16() -> bool:
    """Whether the device that torch takes computes faster in bfloat16 than in 32-bit floats; one that imitates it is many times
    slower. On a CPU it takes a torch that tells the processor's instructions, or the answer is no."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return cpu_gains_by_bf16()


def cpu_has_bf16() -> bool:
    """Whether the CPU multiplies in bfloat16 itself."""
    return any(_told().get(name) for name in BF16)


def cpu_gains_by_bf16() -> bool:
    """Whether it is faster so than in 32-bit floats.

    Intel's are by AMX, which a virtual machine may hide: with AVX-512 BF16 alone they were at three fifths of the speed of 32
    bits, where AMD's were at twice it.
    """
    told = _told()
    return cpu_has_bf16() and bool(told.get("amx_bf16") or not str(told.get("cpu_name", "")).startswith("Intel"))


def has_int8() -> bool:
    """Whether the CPU multiplies 8-bit numbers itself: otherwise 8-bit weights gain nothing. Yes where torch does not tell."""
    told = _told()
    return told.get("architecture") != "x86_64" or any(told.get(name) for name in INT8)


def _told() -> dict[str, Any]:
    found: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return found


def instructions() -> str:
    """The widest vectors that torch uses on this processor, and whether it multiplies in bfloat16, such as `AVX512, bf16`."""
    vectors = torch.backends.cpu.get_cpu_capability()
    return f"{vectors}, bf16" if cpu_has_bf16() else vectors
