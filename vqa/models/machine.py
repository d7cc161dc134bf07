"""What memory and cards a machine has free: a value, so that one can plan for other machines."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Card:
    """One CUDA device: bytes free on it, and the generation of its processor (8 is Ampere)."""

    free: int
    generation: int = 8


@dataclass(frozen=True, slots=True)
class Machine:
    """Free main memory in bytes (None: the system does not tell) and the cards in their order."""

    ram: int | None
    cards: tuple[Card, ...] = ()

    @classmethod
    def here(cls) -> Machine:
        """Look at this machine."""
        import torch

        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        return cls(free_ram(), tuple(_card(number) for number in range(count)))

    def free(self, device: str) -> int | None:
        """Bytes free on "cpu" or "cuda:0"; None where that cannot be told."""
        kind, _, number = device.partition(":")
        if kind == "cpu":
            return self.ram
        known = kind == "cuda" and int(number or 0) < len(self.cards)
        return self.cards[int(number or 0)].free if known else None


def free_ram() -> int | None:
    """Give the bytes of main memory that can be had without swapping, or None if unknown.

    Linux tells (MemAvailable, less where a container sets a limit); of macOS the whole memory is
    taken as free; Windows tells nothing without a library.
    """
    limits = [bound for bound in (_available(), _left_in_container()) if bound is not None]
    return min(limits, default=None)


def _card(number: int) -> Card:
    import torch

    free, _ = torch.cuda.mem_get_info(number)
    own = torch.cuda.memory_reserved(number) - torch.cuda.memory_allocated(number)
    return Card(free + own, torch.cuda.get_device_capability(number)[0])


def _available() -> int | None:
    try:
        found = re.search(r"MemAvailable:\s*(\d+) kB", Path("/proc/meminfo").read_text())
        if found:
            return int(found[1]) * 1024
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except FileNotFoundError:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        return None


def _left_in_container(root: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Give what a memory limit (cgroup v2) leaves; cached file pages count as free."""
    try:
        limit = int((root / "memory.max").read_text())
        used = int((root / "memory.current").read_text())
        cached = re.search(r"^inactive_file (\d+)$", (root / "memory.stat").read_text(), re.M)
    except (OSError, ValueError):  # no such files, or the limit is "max"
        return None
    return max(0, limit - used + (int(cached[1]) if cached else 0))
