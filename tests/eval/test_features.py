"""Feature sets: how frames are shown to a network, and the names of their distances."""

from pathlib import Path

import pytest
import torch
from torch import nn

from vidjacobi.errors import BadCheckpoint, InvalidArgument
from vidjacobi.eval import features
from vidjacobi.eval.features import (
    FEATURES,
    RESIZES,
    Extractor,
    FeatureSet,
    Loaded,
    load_extractor,
    short_side,
    squash,
)
from vidjacobi.eval.pytorchvideo_nets import build_network

SMALL = "pv_x3d_xs"  # the cheapest of them: 0.1 s for each clip


@pytest.fixture(scope="module")
def x3d_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of random weights in the format of pytorchvideo."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("x3d") / "X3D_XS.pyth"
    torch.save({"model_state": build_network("x3d_xs").state_dict()}, path)
    return path


def test_only_one_distance_is_called_fvd() -> None:
    labels = {name: entry.label for name, entry in FEATURES.items()}
    assert [name for name, label in labels.items() if label == "FVD"] == ["i3d"]
    assert len(set(labels.values())) == len(labels)
    assert labels.pop("vjepa2") == "MMD-vjepa2"
    assert all(label == f"FVD-{name}" for name, label in labels.items() if name != "i3d")


def test_the_protocol_of_fvd_names_everything(fvd_extractor: Extractor) -> None:
    protocol = fvd_extractor.protocol
    assert fvd_extractor.label == protocol["distance"] == "FVD"
    assert protocol["weights_sha256"].startswith("af5c50f0")
    assert protocol["resize"] == (
        "squash: 224x224 whatever the proportions, bilinear, no antialiasing, half-pixel centres"
    )
    assert (protocol["range"], protocol["bn_eps"], protocol["least_frames"]) == ("[-1, 1]", 1e-3, 9)


def test_black_is_minus_one_and_white_one(fvd_extractor: Extractor) -> None:
    for value, pixel in ((0, -1.0), (255, 1.0)):
        pixels = fvd_extractor.prepare(torch.full((2, 30, 50, 3), value, dtype=torch.uint8))
        assert pixels.shape == (3, 2, 224, 224)
        torch.testing.assert_close(pixels, torch.full_like(pixels, pixel), rtol=0, atol=1e-6)


def test_a_pytorchvideo_network_is_another_distance(x3d_file: Path) -> None:
    extractor = load_extractor(SMALL, x3d_file)
    clips = torch.randint(0, 256, (2, 5, 20, 30, 3), dtype=torch.uint8)
    found = extractor(clips)
    assert extractor.label == extractor.protocol["distance"] == "FVD-pv_x3d_xs"
    assert extractor.protocol["range"] == "[-2, 2.444]"
    assert found.shape == (2, 400)
    assert not torch.allclose(found.sum(1), torch.ones(2)), "logits are wanted, not a softmax"
    assert torch.equal(extractor(clips[1:]), found[1:]), "a clip's features must not depend on its batch"


def test_resize_rules_and_weights_are_other_protocols(x3d_file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.pyth"
    torch.save({"model_state": build_network("x3d_xs").state_dict()}, other)
    ids = [
        load_extractor(SMALL, path, rule).protocol_id
        for path in (x3d_file, other)
        for rule in ("squash", "short_side")
    ]
    assert len(set(ids)) == 4
    assert load_extractor(SMALL, x3d_file).protocol_id == ids[0]


def test_squash_keeps_everything_and_short_side_the_middle() -> None:
    picture = torch.zeros(1, 1, 40, 80)
    picture[..., :20] = 1.0  # the left quarter, which the square in the centre does not include
    assert squash(picture, 20).mean() == pytest.approx(0.25, abs=0.01)
    assert short_side(picture, 20).mean() == 0.0
    assert torch.equal(squash(picture, 20), nn.functional.interpolate(picture, (20, 20), mode="bilinear"))
    assert torch.equal(short_side(picture[..., :40], 20), squash(picture[..., :40], 20))


@pytest.mark.parametrize("size", [(30, 50), (50, 30), (225, 224), (1, 7)])
@pytest.mark.parametrize("rule", RESIZES)
def test_every_rule_gives_squares(rule: str, size: tuple[int, int]) -> None:
    assert RESIZES[rule].apply(torch.zeros(1, 3, *size), 24).shape == (1, 3, 24, 24)


def test_unknown_names_get_a_suggestion() -> None:
    with pytest.raises(InvalidArgument, match=r"feature set 'i3' \(did you mean 'i3d'\?"):
        load_extractor("i3")
    with pytest.raises(InvalidArgument, match="did you mean 'squash'"):
        load_extractor("i3d", resize="squish")


def test_weights_that_are_missing_or_others(x3d_file: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"download the \.pyth file of slow_r50"):
        load_extractor("pv_slow_r50")
    with pytest.raises(BadCheckpoint, match="no such file"):
        load_extractor(SMALL, tmp_path / "none.pyth")
    with pytest.raises(BadCheckpoint, match=r"does not fit x3d_m: .*blocks\.0\.conv.conv_t.weight"):
        load_extractor("pv_x3d_m", _changed(x3d_file, tmp_path))
    stateless = tmp_path / "stateless.pyth"
    torch.save(torch.load(x3d_file, weights_only=True)["model_state"], stateless)
    with pytest.raises(BadCheckpoint, match="no `model_state`"):
        load_extractor(SMALL, stateless)
    stateless.write_bytes(b"text")
    with pytest.raises(BadCheckpoint, match="damaged"):
        load_extractor(SMALL, stateless)


def _changed(file: Path, folder: Path) -> Path:
    state = torch.load(file, weights_only=True)
    state["model_state"].pop("blocks.0.conv.conv_t.weight")
    torch.save(state, folder / "changed.pyth")
    return folder / "changed.pyth"


@pytest.mark.parametrize(
    "clips",
    [
        torch.zeros(1, 9, 8, 8, 3),
        torch.zeros(9, 8, 8, 3, dtype=torch.uint8),
        torch.zeros(1, 9, 8, 8, 4, dtype=torch.uint8),
        torch.zeros(0, 9, 8, 8, 3, dtype=torch.uint8),
    ],
)
def test_other_tensors_are_refused(tiny_extractor: Extractor, clips: torch.Tensor) -> None:
    unchecked = getattr(Extractor.__call__, "__wrapped__", Extractor.__call__)
    with pytest.raises((InvalidArgument, TypeError)):
        unchecked(tiny_extractor, clips)


def test_a_feature_set_is_one_registry_line(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mean(nn.Module):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return pixels.mean((2, 3, 4))

    entry = FeatureSet("FVD-mean", "mean colour", lambda weights: Loaded(Mean(), {"weights": "none"}), 8, 1)
    monkeypatch.setitem(features.FEATURES, "mean", entry)
    extractor = load_extractor("mean")
    assert extractor(torch.full((1, 1, 4, 4, 3), 255, dtype=torch.uint8)).flatten().tolist() == pytest.approx(
        [0.55 / 0.225] * 3
    )
