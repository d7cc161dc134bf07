"""Memory of CogVLM2: what is counted against the published numbers, and against what is held."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.peak import SIZES, random_model, work
from vqa.models.cogvlm2 import attention, memory
from vqa.models.cogvlm2.attention import Cache
from vqa.models.cogvlm2.config import Config, VisionConfig
from vqa.models.cogvlm2.fitting import PUBLISHED, fits, rows
from vqa.models.cogvlm2.forward import Runner
from vqa.models.cogvlm2.memory import (
    Task,
    cache_bytes,
    is_quantised,
    offload_bytes,
    peak_bytes,
    weights_bytes,
    working_bytes,
)
from vqa.models.machine import Card, Machine
from vqa.models.quantize import held_bytes, quantize_layers
from vqa.models.sizes import Quantize

VIDEO, IMAGE = PUBLISHED["visionreward-video"], PUBLISHED["visionreward-image"]
# Bytes that programs can have on cards sold as 40, 24, 16, 12 and 8 GB, rounded down.
CARDS = {40: 42_200_000_000, 24: 25_200_000_000, 16: 16_700_000_000, 12: 12_500_000_000}
CARDS[8] = 8_200_000_000
FORMS = ["bfloat16", "int8", "int4", "offload", None]
TINY = Config(
    experts=True,
    hidden_size=96,
    intermediate_size=160,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_multi_query_heads=2,
    vocab_size=50,
    vision=VisionConfig(
        hidden_size=48, num_hidden_layers=2, num_heads=4, intermediate_size=112, image_size=56
    ),
)


def test_the_published_models_have_the_published_sizes() -> None:
    assert (VIDEO.num_parameters, IMAGE.num_parameters) == (12_507_530_496, 19_503_105_280)
    assert (weights_bytes(VIDEO), weights_bytes(IMAGE)) == (25_015_065_088, 39_006_214_656)


def test_the_published_sizes_are_those_of_the_published_config_files(shared: Path) -> None:
    files = json.loads((shared / "reference" / "cogvlm2_configs.json").read_text())
    assert Config.from_dict(files["visionreward_video_config_json"]) == VIDEO
    assert Config.from_dict(files["cogvlm2_llama3_chat_19b_config_json"]) == IMAGE


@pytest.mark.parametrize(
    ("card", "video", "image"),
    [
        (40, "bfloat16", "bfloat16"),
        (24, "int8", "int8"),
        (16, "int8", "int4"),
        (12, "int4", "offload"),
        (8, "offload", "offload"),
    ],
)
def test_what_a_card_holds(card: int, video: str, image: str) -> None:
    assert (fits(VIDEO, CARDS[card]), fits(IMAGE, CARDS[card])) == (video, image)


def test_a_card_that_holds_no_module_holds_nothing() -> None:
    assert fits(VIDEO, 2_000_000_000) is None


@settings(max_examples=25, deadline=None)
@given(less=st.integers(0, 60_000_000_000), more=st.integers(0, 60_000_000_000))
def test_more_memory_is_never_worse(less: int, more: int) -> None:
    less, more = sorted((less, more))
    for config in (VIDEO, IMAGE):
        assert FORMS.index(fits(config, more)) <= FORMS.index(fits(config, less))


@settings(max_examples=25, deadline=None)
@given(
    pictures=st.integers(1, 24),
    questions=st.integers(1, 64),
    dtype=st.sampled_from(["bfloat16", "float32"]),
)
def test_more_work_needs_more_memory(pictures: int, questions: int, dtype: str) -> None:
    here, more = Task(pictures, questions), Task(pictures + 1, questions + 1)
    for quantize in (None, "int8", "int4"):
        peaks = [peak_bytes(VIDEO, dtype=dtype, quantize=quantize, task=t) for t in (here, more)]
        assert weights_bytes(VIDEO, dtype=dtype, quantize=quantize) < peaks[0] < peaks[1]
    assert offload_bytes(VIDEO, dtype=dtype, task=here) < offload_bytes(
        VIDEO, dtype=dtype, task=more
    )


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("quantize", [None, "int8", "int4"])
def test_the_weights_counted_are_the_weights_held(dtype: str, quantize: Quantize | None) -> None:
    model = random_model(TINY, getattr(torch, dtype))
    if quantize:
        names = quantize_layers(model, quantize, wanted=is_quantised)
        assert {f"{name}.weight" for name in names} == {
            name for name, shape in TINY.shapes().items() if is_quantised(name, shape)
        }
        assert any("vision_mlp" in name for name in names) and "lm_head" not in names
    assert held_bytes(model) == weights_bytes(TINY, dtype=dtype, quantize=quantize)


def test_the_keys_and_values_counted_are_those_kept() -> None:
    cache = Cache()
    piece = work(SIZES, 1, 1).piece([0], cache, with_head=True, keep=True)
    with torch.inference_mode():
        Runner(random_model(SIZES, torch.float32), torch.device("cpu"), 1).run([piece])
    kept = sum(half.nbytes for pair in cache.layers.values() for half in pair)
    assert kept == cache_bytes(SIZES, tokens=piece.segment.head, dtype="float32")


def test_questions_are_counted_in_the_groups_in_which_they_are_mixed() -> None:
    assert memory.GROUP_TOKENS == attention.GROUP_TOKENS


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
@pytest.mark.parametrize(
    ("dtype", "quantize", "pictures", "at_least"),
    [
        ("float32", "none", 24, 0.95),  # the tower's peak
        ("float32", "none", 2, 0.95),  # the decoder's
        ("bfloat16", "none", 24, 0.9),
        ("bfloat16", "none", 2, 0.7),  # the count has room for what attention takes on a GPU
        ("float32", "int8", 24, 0.8),
        ("float32", "int4", 2, 0.8),
    ],
)
def test_the_peak_of_a_pass_is_what_was_counted(
    dtype: str, quantize: str, pictures: int, at_least: float
) -> None:
    command = [sys.executable, "-m", "tests.peak", dtype, quantize, str(pictures)]
    given_back = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=True,
        env=given_back,
        cwd=Path(__file__).parent.parent,
    )
    found = json.loads(done.stdout)
    assert at_least * found["counted"] <= found["measured"] <= 1.05 * found["counted"]


def test_a_quantised_pass_has_room_for_the_largest_matrix() -> None:
    plain, packed = (
        working_bytes(IMAGE, tokens=3000, pictures=1, quantize=how) for how in (None, "int4")
    )
    assert packed - plain == 2 * 14336 * 4096


def test_the_rows_say_what_fits_and_why() -> None:
    said = {row.name: row for row in rows(Machine(100_000_000_000, (Card(CARDS[24]),)))}
    video = said["visionreward-video"]
    assert (video.fits, video.why) == ("int8", "25.2 GB free on GPU: int8 needs 15.7 GB")
    assert video.peaks["bfloat16"] == peak_bytes(VIDEO)
    two = rows(Machine(None, (Card(CARDS[16]), Card(CARDS[16]))))
    assert [row.fits for row in two] == ["bfloat16", "int8"]


def test_weights_go_to_the_cpu_only_where_both_together_hold_them() -> None:
    card = (Card(CARDS[8]),)
    enough, little = rows(Machine(64 * 10**9, card)), rows(Machine(16 * 10**9, card))
    assert [row.fits for row in enough] == ["offload", "offload"]
    assert [row.fits for row in little] == [None, None]
    assert "int4 needs 10.2 GB" in little[0].why


def test_without_a_card_the_memory_of_the_cpu_counts() -> None:
    said = rows(Machine(24_000_000_000))
    assert [row.fits for row in said] == ["int8", "int8"]
    assert said[0].why == "no GPU, 24.0 GB free on CPU: int8 needs 15.7 GB, slowly"
    assert [row.fits for row in rows(Machine(4_000_000_000))] == [None, None]
    assert [row.fits for row in rows(Machine(None))] == [None, None]


def test_counting_needs_no_torch() -> None:
    code = "import sys, vqa.models.cogvlm2.fitting; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
