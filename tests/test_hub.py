"""Folders and hub ids become folders; what is refused, and what is said then."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.local_hub import COMMIT, Hub, serving
from vqa.errors import BadCheckpoint, MissingCheckpoint, NoSpace
from vqa.models.hub import companion, resolve

REPO = "org/tiny"
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
WANTED = {
    "config.json": "{}",
    "tokenizer.json": '{"model": {}}',
    "spiece.model": "pieces",
    "chat_template.jinja": "{{ messages }}",
    "model.safetensors.index.json": json.dumps(
        {"weight_map": dict(zip("ab", SHARDS, strict=True))}
    ),
    SHARDS[0]: "first",
    SHARDS[1]: "second",
}
REFUSED = {"modeling.py": "evil()", "pytorch_model.bin": "pickle", "README.md": "words"}


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    folder = tmp_path / "served"
    folder.mkdir()
    for name, text in (WANTED | REFUSED).items():
        (folder / name).write_text(text)
    with serving(REPO, folder) as hub:
        yield hub


def fetched(
    hub: Hub, name: str = REPO, *, download: bool = True, pickles: tuple[str, ...] = ()
) -> Path:
    return resolve(
        name,
        download=download,
        needs=("config.json", "tokenizer.json"),
        pickles=pickles,
        cache=hub.folder.parent / "cache",
        endpoint=hub.endpoint,
    )


def refusal(hub: Hub, name: str = REPO) -> str:
    with pytest.raises(MissingCheckpoint) as refused:
        fetched(hub, name)
    assert str(refused.value).startswith(REPO)
    return str(refused.value)


def test_folder_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "org" / "name"
    folder.mkdir(parents=True)
    assert resolve(folder) == folder
    monkeypatch.chdir(tmp_path)
    assert resolve("org/name") == Path("org/name")  # what lies here comes before the hub
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve("~/org/name") == folder


@pytest.mark.parametrize(
    "path",
    [
        "./missing",
        "../missing/x",
        "/missing",
        "~/missing",
        "a/b/c",
        "word",
        "",
        "~nobody/x",
        "a/b@../c",
        "x" * 5000,
    ],
)
def test_missing_path_is_not_looked_up_on_the_hub(path: str) -> None:
    with pytest.raises(MissingCheckpoint, match=r"no such folder; give the folder .* or a hub id"):
        resolve(path, endpoint="http://127.0.0.1:9")


def test_name_that_the_hub_forbids_is_missing() -> None:
    with pytest.raises(MissingCheckpoint, match="org/a--b: no folder here, and no hub id: "):
        resolve("org/a--b")


def test_file_in_place_of_a_folder_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"")
    with pytest.raises(MissingCheckpoint, match="is a file; give the folder it lies in"):
        resolve(file)


def test_weights_and_tokenizer_are_fetched_but_neither_code_nor_pickles(
    hub: Hub, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = fetched(hub)
    assert capfd.readouterr() == ("", "")  # a progress bar belongs on a terminal
    assert {path.name: path.read_text() for path in folder.iterdir()} == WANTED
    assert hub.downloads() == set(WANTED)


def test_second_time_asks_no_network(hub: Hub) -> None:
    folder = fetched(hub)
    hub.asked.clear()
    assert fetched(hub) == folder
    assert fetched(hub, f"{REPO}@main", download=False) == folder
    assert hub.asked == []


def test_interrupted_download_goes_on_with_what_is_missing(hub: Hub) -> None:
    shard = fetched(hub) / SHARDS[1]
    shard.resolve().unlink()
    shard.unlink()
    hub.asked.clear()
    assert (fetched(hub) / shard.name).read_text() == "second"
    assert hub.downloads() == {shard.name}


def test_cached_files_need_no_space_again(hub: Hub) -> None:
    shard = fetched(hub) / SHARDS[1]
    shard.resolve().unlink()
    shard.unlink()
    hub.sizes[SHARDS[0]] = 10**18
    assert (fetched(hub) / shard.name).read_text() == "second"


def test_revision_goes_to_the_hub(hub: Hub) -> None:
    assert fetched(hub, f"{REPO}@{COMMIT}").name == COMMIT
    assert "has no revision 'v9'" in refusal(hub, f"{REPO}@v9")


def test_too_small_a_disk_is_told_before_anything_is_fetched(hub: Hub) -> None:
    hub.sizes[SHARDS[0]] = 25 * 10**15
    with pytest.raises(
        NoSpace, match=r"needs 25000000\.0 GB, and .*cache has \d+\.\d GB free; make"
    ):
        fetched(hub)
    assert hub.downloads() == set()


def test_model_without_safetensors_is_not_fetched(hub: Hub) -> None:
    for path in hub.folder.glob("*.safetensors"):
        path.rename(hub.folder / "split_part_aa")
    with pytest.raises(BadCheckpoint, match=r"no safetensors on the hub, .*`vqa convert`"):
        fetched(hub)
    assert hub.downloads() == set()


def test_pickles_of_a_known_name_are_fetched_where_there_is_nothing_else(hub: Hub) -> None:
    for path in hub.folder.glob("*.safetensors*"):
        path.unlink()
    (hub.folder / "ImageReward.pt").write_bytes(b"PK")
    (hub.folder / "optimizer.pt").write_bytes(b"PK")
    place = fetched(hub, pickles=("ImageReward.pt",))
    assert (place / "ImageReward.pt").exists() and not (place / "optimizer.pt").exists()
    hub.asked.clear()
    assert fetched(hub, pickles=("ImageReward.pt",)) == place and not hub.asked


@pytest.mark.parametrize("path", [f"/api/models/{REPO}", "/resolve/"])
def test_gated_model_says_where_to_accept_the_terms(hub: Hub, path: str) -> None:
    hub.refuse[path] = (403, "GatedRepo")
    assert f"accept its terms at https://huggingface.co/{REPO} and say who you are" in refusal(hub)


def test_unknown_model_says_to_check_the_spelling(hub: Hub) -> None:
    hub.repo = "other/model"
    assert "neither a folder here nor a model that the hub shows you" in refusal(hub)


@pytest.mark.parametrize(
    ("status", "words"),
    [(401, "refuses it (401); say who"), (403, "refuses it (403)"), (500, "the hub answered 500")],
)
def test_refusals_without_a_reason_are_told_apart(hub: Hub, status: int, words: str) -> None:
    hub.refuse["/api/models"] = (status, "")
    assert words in refusal(hub)


def test_no_network_is_said(hub: Hub) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        hub.endpoint = f"http://127.0.0.1:{closed.getsockname()[1]}"
        assert "the hub cannot be reached (ConnectError); check the network" in refusal(hub)


def test_no_download_wanted_says_how_to_fetch(hub: Hub) -> None:
    with pytest.raises(
        MissingCheckpoint, match=r"not as a whole, in the cache .*; fetch it first: `hf"
    ):
        fetched(hub, download=False)
    assert hub.asked == []


def test_offline_switch_of_the_hub_is_named(hub: Hub) -> None:
    code = f"from vqa.models.hub import resolve; resolve('{REPO}', cache='{hub.folder}')"
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_ENDPOINT": hub.endpoint}
    run = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert "MissingCheckpoint: org/tiny: not, or not as a whole, in the cache" in run.stderr
    assert "HF_HUB_OFFLINE is set" in run.stderr
    assert hub.asked == []


def _companion(hub: Hub, name: str, file: str | None = None) -> Path:
    folder, cache = hub.folder.parent / "own", hub.folder.parent / "cache"
    folder.mkdir(exist_ok=True)
    return companion(folder, name, repo=REPO, file=file, cache=cache, endpoint=hub.endpoint)


def test_companion_in_the_folder_is_taken(hub: Hub) -> None:
    (hub.folder.parent / "own").mkdir()
    (hub.folder.parent / "own" / "config.json").write_text("own")
    assert _companion(hub, "config.json").read_text() == "own"
    assert hub.asked == []


def test_companion_is_fetched_alone_and_once(hub: Hub) -> None:
    found = _companion(hub, "part/config.json", "config.json")
    assert found.read_text() == WANTED["config.json"]
    assert hub.downloads() == {"config.json"}
    hub.asked.clear()
    assert _companion(hub, "part/config.json", "config.json") == found
    assert hub.asked == []
    assert _companion(hub, "tokenizer.json").read_text() == WANTED["tokenizer.json"]
    assert hub.downloads() == {"tokenizer.json"}


def test_companion_that_cannot_be_had_says_what_it_is(hub: Hub) -> None:
    with pytest.raises(MissingCheckpoint) as refused:
        _companion(hub, "part/vocab.txt", "vocab.txt")
    assert "part/vocab.txt: missing; it is vocab.txt of org/tiny, which" in str(refused.value)
    hub.refuse["/api/models"] = (500, "")
    with pytest.raises(MissingCheckpoint, match=r"org/tiny: the hub answered 500; .*put it there"):
        _companion(hub, "config.json")
