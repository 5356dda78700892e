"""Pictures of named scenes, and from the training's network to the one that ships."""

from pathlib import Path

import numpy as np
import pytest
import torch

from scripts.nano.render.scene_pictures import LABELS, render_views
from scripts.nano.train.encode_pictures import encode_shard
from scripts.nano.train.export_image import export
from scripts.nano.train.image_network import IMAGE, NO_CLASS, start_network
from scripts.nano.train.train_image import without_classes
from vidjacobi.errors import InvalidArgument
from vidjacobi.families.nano_image import load
from vidjacobi.families.prompts import first_tokens
from vidjacobi.runtime import choose

SMALL = (32, 40)
QUICK = ("corridor", "kitchen", "tabletop")


@pytest.mark.parametrize(
    "label",
    [label if label in QUICK else pytest.param(label, marks=pytest.mark.slow) for label in LABELS],
)
def test_a_seed_gives_the_same_pictures(label: str) -> None:
    torch.manual_seed(1)
    found = render_views(3, label, 2, SMALL)
    np.random.seed(2)
    assert found.shape == (2, *SMALL, 3)
    assert torch.equal(render_views(3, label, 2, SMALL), found)
    assert not torch.equal(found[0], found[1])
    assert found.float().std() > 5  # no blank wall


def test_a_label_that_is_not_there() -> None:
    with pytest.raises(InvalidArgument, match="did you mean 'kitchen'"):
        render_views(0, "kitchn", 1)


@pytest.mark.slow
def test_what_ships_is_what_was_trained(tmp_path: Path) -> None:
    """Pictures to tokens; the exported network gives the logits of the trained one, with and without a class."""
    assert encode_shard(range(3, 5), tmp_path) == 8
    rows = torch.from_numpy(np.load(tmp_path / "00000003.npy").astype(np.int64))[::4]
    assert (rows[:, 0] - IMAGE.vocab_size).tolist() == [3, 4]
    net = start_network(0).to(torch.bfloat16).float()
    export(IMAGE.to_config(), net.state_dict(), tmp_path / "out")
    family = load(tmp_path / "out", choose("cpu", "float32"))
    blank = without_classes(rows, torch.tensor([True, True]))
    assert blank[:, 0].tolist() == [NO_CLASS] * 2
    for pictures, scale in ((rows, 1.0), (blank, 0.0)):
        for picture, number in zip(pictures, (3, 4), strict=True):
            model = family.of_classes([number], scale)
            tokens = torch.cat([first_tokens(model, 1), picture[None, 1:-1]], 1)
            with torch.no_grad():
                wanted = net(picture[None, :-1])
                found = torch.cat(list(model.prefill(tokens, model.make_cache(1, 320), 320)), 1)
            assert (found - wanted).abs().max() < 1e-3
