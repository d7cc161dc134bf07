import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import vqa
from features.clip import Clip
from features.encode import write_clip
from tests.conftest import busy
from tests.recipes import checkpoint
from vqa.catalogue import SCORERS
from vqa.cli import main
from vqa.errors import BadArgument
from vqa.scorers.base import Rating
from vqa.selftest import Case, Finding, Input, compare, decoded, has_collapsed
from vqa.selftest_file import Catalogue, find

NAME = "videoscore-qwen2vl"
PUBLISHED = yaml.safe_load(Catalogue.published().text)

Capsys = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A network of random weights that sees pictures of a few tokens."""
    folder = checkpoint(f"{NAME}-tiny", tmp_path_factory.mktemp(NAME))
    file = folder / "preprocessor_config.json"
    limits = {"min_pixels": 3136, "max_pixels": 7 * 784}
    file.write_text(json.dumps(json.loads(file.read_text()) | limits))
    return str(folder)


@pytest.fixture(scope="module")
def cases(weights: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file of cases beside its clip, that expects what a score gives."""
    folder = tmp_path_factory.mktemp("cases")
    clip = write_clip(folder / "clip.mp4", busy(8), fps=8)
    scorer = vqa.load(NAME, checkpoint=weights, device="cpu", dtype="float32")
    aspects = dict(scorer.score(clip, prompt="a wall").dimensions)
    case: dict[str, Any] = {
        "scorer": NAME,
        "name": "mine",
        "prompts": ["a wall"],
        "aspects": aspects,
    }
    case |= {"inputs": ["clip.mp4"], "tolerance": 1e-4, "source": "this test"}
    return write(folder / "cases.yaml", {"inputs": {"clip.mp4": {"frames": 8}}, "cases": [case]})


def write(file: Path, tree: dict[str, Any]) -> str:
    file.write_text(yaml.safe_dump(tree, sort_keys=False))
    return str(file)


def changed(cases: str, name: str, **values: Any) -> str:
    """Write the cases with other values, beside the clip."""
    tree = yaml.safe_load(Path(cases).read_text())
    tree["cases"][0] |= values
    return write(Path(cases).with_name(name), tree)


def selftest(*argv: str) -> int:
    return main(["selftest", *argv, "--device", "cpu", "--dtype", "float32"])


def rows_of(capsys: Capsys) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


# The command ------------------------------------------------------------------------------------


def test_numbers_that_agree_give_status_0(cases: str, weights: str, capsys: Capsys) -> None:
    assert selftest(NAME, "--checkpoint", weights, "--cases", cases) == 0
    out, err = capsys.readouterr()
    rows = [json.loads(line) for line in out.splitlines()]
    assert len(rows) == 6 and all(row["agrees"] for row in rows)
    assert rows[0]["what"] == "frames" and rows[0]["found"] == 8
    assert rows[1]["what"] == "visual_quality" and rows[1]["source"] == "this test"
    assert "6 of 6 numbers agree" in err


def test_numbers_that_differ_give_status_1(cases: str, weights: str, capsys: Capsys) -> None:
    aspects = {"dynamic_degree": 9.0, "factual_consistency": 9.5}
    other = changed(cases, "other.yaml", aspects=aspects)
    assert selftest(NAME, "--checkpoint", weights, "--cases", other, "--table") == 1
    out, err = capsys.readouterr()
    assert "dynamic_degree" in out and "9.5" in out
    assert "1 of 3 numbers agree" in err


def test_random_weights_do_not_give_the_published_numbers(
    weights: str, shared: Path, capsys: Capsys
) -> None:
    clip = str(shared / "videos/videoscore_video1.mp4")  # under another name than published
    assert selftest(NAME, "--checkpoint", weights, "--input", clip) == 1
    rows = rows_of(capsys)
    decoding, scores = rows[:7], rows[7:]
    assert all(row["agrees"] for row in decoding)
    assert [row["expected"] for row in scores] == [3.578, 3.594, 3.703, 3.156, 3.688]
    assert not all(row["agrees"] for row in scores)


def test_an_empty_prompt_reaches_the_network(cases: str, weights: str, capsys: Capsys) -> None:
    """A published one is; a score takes it as no prompt, and refuses."""
    empty = changed(cases, "empty.yaml", prompts=[""])
    assert selftest(NAME, "--checkpoint", weights, "--cases", empty) == 1
    rows = rows_of(capsys)
    assert all(np.isfinite(row["found"]) for row in rows) and not rows[1]["agrees"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["nobody"], "'nobody': no scorer of that name"),
        ([NAME], "needs examples/video1.mp4 of github.com/TIGER-AI-Lab/VideoScore (sha256 ef7f"),
        ([NAME, "--input", "CLIP"], "needs examples/video1.mp4"),
        ([NAME, "--input", "none"], "--input none: no such file or folder"),
        ([NAME, "--json", "--table"], "give one of them"),
        (["ict"], "no score is printed in github.com/BarretBa/ICTHP"),
        (["measured"], "selftest.yaml has no case of it; there is for videoscore, "),
        ([NAME, "--cases", "none.yaml"], "none.yaml: cannot be read as cases"),
        ([NAME, "--cases", "CASES"], "needs a checkpoint"),
    ],
)
def test_what_is_missing_is_one_message_and_status_2(
    argv: list[str], message: str, cases: str, capsys: Capsys
) -> None:
    known = {"CLIP": str(Path(cases).with_name("clip.mp4")), "CASES": cases}
    assert selftest(*(known.get(word, word) for word in argv)) == 2
    out, err = capsys.readouterr()
    assert out == "" and message in err and err.count("\n") == 1


def test_a_judge_with_a_checklist_has_no_self_test(cases: str, capsys: Capsys) -> None:
    assert selftest("measured", "--cases", changed(cases, "m.yaml", scorer="measured")) == 2
    assert "only networks have a self-test" in capsys.readouterr().err


# Inputs -----------------------------------------------------------------------------------------


@pytest.fixture
def known(tmp_path: Path) -> Input:
    """An input whose file lies at sub/a.bin below tmp_path."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/a.bin").write_bytes(b"abc")
    return Input(name="a.bin", origin="somewhere", sha256=hashlib.sha256(b"abc").hexdigest())


def test_inputs_are_found_in_folders_by_name_and_alone_by_digest(
    known: Input, tmp_path: Path
) -> None:
    assert find([known], [str(tmp_path)]) == {"a.bin": tmp_path / "sub/a.bin"}
    assert find([known], [str(tmp_path / "sub")]) == {"a.bin": tmp_path / "sub/a.bin"}
    other = shutil.copy(tmp_path / "sub/a.bin", tmp_path / "renamed")
    assert find([known], [str(other)]) == {"a.bin": Path(other)}


def test_another_file_of_that_name_is_refused(known: Input, tmp_path: Path) -> None:
    right = tmp_path / "sub/a.bin"
    wrong = tmp_path / "a.bin"
    wrong.write_bytes(b"abd")
    digest = hashlib.sha256(b"abd").hexdigest()
    with pytest.raises(BadArgument, match=f"a.bin: is not somewhere .*{digest}"):
        find([known], [str(wrong)])
    assert find([known], [str(wrong), str(right)]) == {"a.bin": right}


def test_a_file_without_digest_goes_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "b.bin").touch()
    wanted = Input(name="b.bin")
    assert find([wanted], [str(tmp_path / "b.bin")]) == {"b.bin": tmp_path / "b.bin"}
    with pytest.raises(BadArgument, match=r"needs c\.bin"):
        find([wanted, Input(name="c.bin")], [str(tmp_path)])


def test_decoding_is_compared_frame_by_frame() -> None:
    frames = np.zeros((3, 4, 6, 3), np.uint8)
    frames[2] = (10, 20, 30)
    given = Input(name="a", frames=4, mean_rgb={2: (10.4, 20.6, 30)})
    found = decoded(given, Clip.from_frames(frames))
    assert [(f.what, f.found, f.agrees) for f in found] == [
        ("frames", 3, False),
        ("mean R of frame 2", 10, True),
        ("mean G of frame 2", 20, False),
        ("mean B of frame 2", 30, True),
    ]


# Comparisons ------------------------------------------------------------------------------------


def case_of(**values: Any) -> Case:
    return Case(scorer="s", name="n", inputs=[], prompts=["p"], tolerance=0.1, **values)


def test_aspects_are_compared_by_name() -> None:
    case = case_of(kind="aspects", expected={"b": 2.0, "a": 1.0, "c": 3.0})
    found = compare(case, [Rating(0.0, aspects={"a": 1.05, "b": 2.15, "d": 3.0})])
    assert [(f.what, f.agrees) for f in found] == [("b", False), ("a", True), ("c", False)]


def test_values_are_compared_in_the_order_of_the_inputs() -> None:
    case = case_of(kind="values", expected={"1.png": 0.5, "2.png": -2.0})
    found = compare(case, [Rating(0.55), Rating(-1.0)])
    assert [(f.what, f.found, f.agrees) for f in found] == [
        ("1.png", 0.55, True),
        ("2.png", -1.0, False),
    ]


def test_softmax_is_over_scaled_values() -> None:
    case = case_of(kind="softmax", scale=100, expected={"a dog": 0.75, "a cat": 0.25})
    found = compare(case, [Rating(20 + np.log(3) / 100), Rating(20.0)])
    assert [f.found for f in found] == pytest.approx([0.75, 0.25])


@pytest.mark.parametrize("found", [float("nan"), float("inf"), 1.2])
def test_what_is_no_number_or_too_far_off_does_not_agree(found: float) -> None:
    assert not Finding(case="", what="", expected=1.0, found=found, tolerance=0.1).agrees


def test_an_empty_head_is_told() -> None:
    case = case_of(kind="values", expected={"1.png": 0.5}, collapsed=-0.16177996568378675)
    assert has_collapsed(case, [Rating(-0.16178), Rating(-0.16178)])
    assert not has_collapsed(case, [Rating(-0.16178), Rating(0.2)])
    assert not has_collapsed(case_of(kind="values", expected={}), [Rating(-0.16178)])


# Files of cases ---------------------------------------------------------------------------------

ONE = {"scorer": "s", "name": "n", "inputs": ["a"], "prompts": ["p"], "tolerance": 1}


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ("[", "is not YAML"),
        ({"inputs": {}}, "must hold a list `cases`"),
        ({"cases": [ONE]}, "case 1: needs one of aspects, values, softmax"),
        ({"cases": [ONE | {"values": [1]}], "inputs": {}}, "case 1: 'a' does not stand in"),
        ({"cases": [{"scorer": "s", "values": [1]}]}, "case 1: lacks 'inputs'"),
        ({"cases": [ONE | {"values": [1, 2]}]}, "case 1: 2 numbers for 1 values"),
        ({"cases": [ONE | {"values": ["x"]}]}, "case 1: could not convert"),
        ({"cases": [ONE | {"values": [1], "prompts": ["p", "q"]}]}, "one of the prompts, not of 2"),
        ({"cases": [ONE | {"values": [1], "tolerence": 2}]}, "unexpected keyword.*'tolerence'"),
        ({"cases": ["s"]}, "case 1: "),
    ],
)
def test_a_wrong_file_is_told_with_the_case(tree: Any, message: str) -> None:
    text = tree if isinstance(tree, str) else yaml.safe_dump({"inputs": {"a": {}}} | tree)
    with pytest.raises(BadArgument, match=message):
        Catalogue("mine.yaml", text).cases("s")


@pytest.mark.parametrize("name", dict.fromkeys(case["scorer"] for case in PUBLISHED["cases"]))
def test_published_cases_are_whole(name: str) -> None:
    for case in Catalogue.published().cases(name):
        assert case.source and 0 < case.tolerance <= 0.1 and case.expected
        assert all(one.origin and (one.sha256 or name == "clipscore") for one in case.inputs)
        assert name == "clipscore" or case.checkpoint == SCORERS[name].hub_id


def test_every_network_is_compared_or_says_why_not() -> None:
    told = {case["scorer"] for case in PUBLISHED["cases"]} | set(PUBLISHED["unpublished"])
    networks = {name for name, known in SCORERS.items() if known.home is not None}
    assert networks - told <= {"icthp", "pickscore"} and told <= networks


def test_the_published_numbers_were_carried_over_as_they_are(shared: Path) -> None:
    facts = json.loads((shared / "reference/published_outputs.json").read_text())
    runs = facts["videoscore"]["runs"]
    video = [c for c in PUBLISHED["cases"] if c["scorer"].startswith("videoscore")]
    of_hub = sorted((run["checkpoint"], run["scores"]) for run in runs)
    assert sorted((c["checkpoint"], list(c["aspects"].values())) for c in video) == of_hub
    usual = facts["videoscore"]["input"]["prompt"]
    for case in video:
        (run,) = [r for r in runs if r["scores"] == list(case["aspects"].values())]
        assert case["prompts"] == [run.get("prompt", usual)]
    (reward,) = [c for c in PUBLISHED["cases"] if c["scorer"] == "imagereward"]
    assert reward["values"] == facts["imagereward"]["rewards"]
    assert reward["prompts"] == [facts["imagereward"]["prompt"]]
    assert reward["collapsed"] == facts["imagereward"]["sentinel"]["value"]
    for known in facts["input_checks"]["imagereward_images"]:
        (given,) = [one for one in PUBLISHED["inputs"].values() if one["origin"] == known["file"]]
        assert given["sha256"] == known["sha256"]
    assert PUBLISHED["inputs"]["video1.mp4"]["sha256"] == facts["videoscore"]["input"]["sha256"]
    (clip,) = [c for c in PUBLISHED["cases"] if c["scorer"] == "clipscore"]
    assert clip["softmax"] == facts["openai_clip_vit_b32"]["softmax_of_logits"]
