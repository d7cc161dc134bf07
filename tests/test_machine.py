"""What is free here, and what a plan may assume of other machines."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from vqa.models.machine import Card, Machine, _left_in_container, free_ram

GB = 10**9


def test_free_memory_of_a_device_is_told_and_unknown_is_none() -> None:
    machine = Machine(8 * GB, (Card(40 * GB), Card(16 * GB)))
    known = {device: machine.free(device) for device in ("cpu", "cuda:0", "cuda:1", "cuda")}
    assert known == {"cpu": 8 * GB, "cuda:0": 40 * GB, "cuda:1": 16 * GB, "cuda": 40 * GB}
    assert machine.free("cuda:2") is None
    assert machine.free("mps") is None


def test_this_machine_has_memory_and_the_cards_that_torch_sees() -> None:
    here = Machine.here()
    assert here.ram is None or 10**8 < here.ram < 10**14
    assert len(here.cards) == torch.cuda.device_count()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere only the total is known")
def test_free_memory_is_what_psutil_finds() -> None:
    psutil = pytest.importorskip("psutil")
    found, memory = free_ram(), psutil.virtual_memory()
    assert found is not None
    if _left_in_container() is None:
        assert abs(found - memory.available) < 0.1 * memory.total  # others come and go meanwhile
    assert found < memory.available + 0.1 * memory.total


def test_limit_of_a_container_counts_and_cached_files_do_not(tmp_path: Path) -> None:
    assert _left_in_container(tmp_path) is None
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 500\ninactive_file 150\nactive_file 50\n")
    assert _left_in_container(tmp_path) is None
    (tmp_path / "memory.max").write_text("1000\n")
    assert _left_in_container(tmp_path) == 1000 - 700 + 150
