"""Loading by name: folders, repositories in the hub's local cache, and the messages where nothing is there."""

from importlib import resources
from pathlib import Path

import pytest
import torch

import vidjacobi
from vidjacobi.errors import BadCheckpoint, InvalidArgument
from vidjacobi.loading import TOKENIZERS
from vidjacobi.models.hub import is_repository, local
from vidjacobi.video.clips import read_frames

MODEL = "nvidia/Cosmos-1.0-Autoregressive-4B"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub on a machine that is offline."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return tmp_path


def cache(hub: Path, repository: str, files: dict[str, Path]) -> None:
    """Put files into the cache as if they had been downloaded."""
    folder = hub / f"models--{repository.replace('/', '--')}"
    snapshot = folder / "snapshots" / "0123456789012345678901234567890123456789"
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(snapshot.name)
    for name, source in files.items():
        (snapshot / name).symlink_to(source)


def test_a_folder(tiny_pair: Path) -> None:
    model, tokenizer = vidjacobi.load(tiny_pair, device="cpu", dtype="float64")
    assert model.dtype == torch.float64
    assert tokenizer.frame_size == (32, 48)
    assert isinstance(model, vidjacobi.VideoModel)
    assert isinstance(tokenizer, vidjacobi.VideoTokenizer)


@pytest.mark.parametrize(("name", "size"), [("nano", (128, 160)), ("micro", (96, 128))])
def test_the_bundled_models(name: str, size: tuple[int, int]) -> None:
    """Both roll out from any clip, with the same tokenizer at two frame sizes."""
    model, tokenizer = vidjacobi.load(name, device="cpu", dtype="float32")
    assert tokenizer.frame_size == size
    assert (model.grid_for(33).h * 8, model.grid_for(33).w * 8) == size
    with resources.as_file(resources.files("vidjacobi") / "assets" / "sample.mp4") as path:
        frames = read_frames(path, 0, 9).frames
    rolled = vidjacobi.rollout(frames, model, tokenizer, new_frames=3, window=64)
    assert rolled.context.shape == (9, *size, 3)
    assert rolled.predicted.shape == (1, 3, *size, 3)
    assert rolled.tokens.shape == (1, 3, size[0] // 8, size[1] // 8)


def test_a_repository_in_the_cache(tiny_pair: Path, hub: Path) -> None:
    beside = {name: tiny_pair / "transformer" / name for name in ("model.safetensors", "config.json")}
    cache(hub, MODEL, beside)
    with pytest.raises(BadCheckpoint, match="Tokenizer-DV8x16x16"):
        vidjacobi.load(MODEL, device="cpu")  # the tokenizer has a repository of its own, which is not cached
    model, _ = vidjacobi.load(MODEL, device="cpu", tokenizer=tiny_pair / "tokenizer")
    assert model.vocab_size == 64


def test_a_repository_that_is_not_there(hub: Path) -> None:
    with pytest.raises(BadCheckpoint, match=r"(?s)could not be fetched.*model\.pt.*folder of your own"):
        vidjacobi.load(MODEL, device="cpu")


def test_a_file_of_a_repository(tiny_pair: Path, hub: Path) -> None:
    cache(hub, MODEL, {"model.safetensors": tiny_pair / "transformer" / "model.safetensors"})
    found = local(f"hf://{MODEL}/model.safetensors")
    assert found.read_bytes() == (tiny_pair / "transformer" / "model.safetensors").read_bytes()
    assert local("~/a") == Path("~/a").expanduser()
    with pytest.raises(BadCheckpoint, match=r"(?s)could not be fetched.*other\.pt.*folder of your own"):
        local(f"hf://{MODEL}/other.pt")
    outside = (
        f"hf://{MODEL}/{file}" for file in ("../../../other.pt", "/a.pt", "a/./b.pt", "a\\b.pt", "a\n.pt")
    )
    for name in ("hf://a", "hf://owner/name", "hf://owner/name/", *outside):
        with pytest.raises(InvalidArgument, match="written hf://OWNER/REPOSITORY/FILE"):
            local(name)


def test_a_line_that_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the hub's HTTP library raises is no OSError in every version."""

    def download(*_: str) -> str:
        raise RuntimeError("peer closed connection without sending complete message body")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    with pytest.raises(BadCheckpoint, match=r"owner/name could not be fetched \(RuntimeError: peer closed"):
        local("hf://owner/name/a.pt")


def test_every_default_tokenizer_is_a_repository() -> None:
    assert all(map(is_repository, [*TOKENIZERS, *TOKENIZERS.values()]))


def test_unknown_names(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="did you mean 'nano'"):
        vidjacobi.load("nanu")
    with pytest.raises(InvalidArgument, match="unknown model"):
        vidjacobi.load(str(tmp_path / "nowhere"))


def test_a_model_without_its_tokenizer(tiny_pair: Path) -> None:
    with pytest.raises(BadCheckpoint, match="--tokenizer"):
        vidjacobi.load(tiny_pair / "transformer", device="cpu")


def test_a_tokenizer_of_another_size_is_refused(tiny_pair: Path, tmp_path: Path) -> None:
    import json
    import shutil

    other = tmp_path / "tokenizer"
    shutil.copytree(tiny_pair / "tokenizer", other)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "video_height": 64}))
    with pytest.raises(BadCheckpoint, match="do not belong together"):
        vidjacobi.load(tiny_pair / "transformer", device="cpu", tokenizer=other)
