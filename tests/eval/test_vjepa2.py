"""V-JEPA 2 from a user's folder, with a tiny random one."""

import json
from pathlib import Path

import pytest
import torch
import transformers

from vidjacobi.errors import BadCheckpoint, BadInput, InvalidArgument
from vidjacobi.eval.features import Extractor, load_extractor
from vidjacobi.eval.fvd import Shown, record

SIDE, TUBELET = 32, 2
KINDS = ("VJEPA2ForVideoClassification", "VJEPA2Model")


def write_tiny(folder: Path, kind: str = KINDS[0]) -> Path:
    """A folder of a random V-JEPA 2 of two small layers."""
    config = transformers.VJEPA2Config(
        patch_size=16,
        crop_size=SIDE,
        frames_per_clip=4,
        tubelet_size=TUBELET,
        hidden_size=24,
        num_attention_heads=2,
        num_hidden_layers=2,
        num_pooler_layers=1,
        pred_hidden_size=24,
        pred_num_attention_heads=2,
        pred_num_hidden_layers=1,
        num_labels=3,
    )
    torch.manual_seed(0)
    network = getattr(transformers, kind)(config)
    for weight in network.parameters():  # as it begins, the pooler's query is 0 and its weights nearly are
        torch.nn.init.normal_(weight, std=0.2)
    network.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("vjepa2"))


@pytest.fixture(scope="module")
def extractor(folder: Path) -> Extractor:
    return load_extractor("vjepa2", folder)


def clips(count: int, frames: int = 4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(count)
    return torch.randint(0, 256, (count, frames, SIDE, SIDE, 3), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("kind", KINDS)
def test_the_feature_is_that_of_transformers(kind: str, tmp_path: Path) -> None:
    """Frames of the network's own size, shown to transformers' class as its preprocessing does."""
    made = load_extractor("vjepa2", write_tiny(tmp_path, kind))
    shown = clips(2)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    pixels = ((shown / 255 - mean) / std).permute(0, 1, 4, 2, 3)
    network = getattr(transformers, kind).from_pretrained(tmp_path).eval()
    with torch.no_grad():
        if kind == KINDS[0]:
            seen = network(pixels)
            assert torch.allclose(network.classifier(made(shown)), seen.logits, atol=1e-5)
        else:
            seen = network(pixels, skip_predictor=True)
            assert torch.allclose(made(shown), seen.last_hidden_state.mean(1), atol=1e-5)
    assert made(shown).shape == (2, 24)
    assert made(shown)[0].std() > 1e-3


def test_its_distance_is_never_called_fvd(extractor: Extractor) -> None:
    found = record(
        extractor(clips(5)), extractor(clips(6))[:5], extractor.protocol, Shown(4, "all"), draws=10
    )
    assert extractor.label == found["metric"] == "MMD-vjepa2"
    assert "FVD" not in json.dumps(found)
    protocol = found["protocol"]
    assert protocol["feature"] == "output of the attentive pooler, before the classifier"
    assert protocol["resize"].startswith(f"squash: {SIDE}x{SIDE}")
    assert (protocol["range"], protocol["normalisation"]) == ("[0, 1]", "ImageNet's mean and deviation")
    assert len(protocol["weights_sha256"]) == 64
    assert "degree 2" in protocol["kernel"]
    assert found["value"] > 0


def test_frames_that_the_network_would_leave_out_are_refused(extractor: Extractor) -> None:
    with pytest.raises(BadInput, match="in groups of 2, and these clips have 5: show 4"):
        extractor(clips(1, 5))


def test_folders_that_hold_no_whole_network(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="name it with --weights"):
        load_extractor("vjepa2")
    with pytest.raises(BadCheckpoint, match=r"no config\.json"):
        load_extractor("vjepa2", tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(BadCheckpoint, match=r"no \.safetensors file"):
        load_extractor("vjepa2", tmp_path)
    weights = (folder / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(weights)
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    with pytest.raises(BadCheckpoint, match="tensors are missing"):
        load_extractor("vjepa2", tmp_path)
    (tmp_path / "config.json").write_text(
        json.dumps({**config, "model_type": "vit", "architectures": ["ViTModel"]})
    )
    with pytest.raises(BadCheckpoint, match="no V-JEPA 2"):
        load_extractor("vjepa2", tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(BadCheckpoint, match="cannot be opened"):
        load_extractor("vjepa2", tmp_path)
