"""Does the real lerobot load, merge, stream and train on futures beside their source? Run it where lerobot is.

python scripts/lerobot_check.py my_set futures_lerobot futures_to_merge

``futures_to_merge`` was exported with --same-features. Prints what was found as JSON; any difference raises. It needs
lerobot >= 0.4 (tried: 0.4.4) and nothing of vidjacobi, so that both may have environments of their own. The streaming
reader needs a torchcodec that finds FFmpeg.
"""

import argparse
import json
import os
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from lerobot.configs.types import FeatureType
from lerobot.datasets.aggregate import aggregate_datasets
from lerobot.datasets.lerobot_dataset import LeRobotDataset, MultiLeRobotDataset
from lerobot.datasets.streaming_dataset import StreamingLeRobotDataset
from lerobot.datasets.utils import dataset_to_policy_features
from lerobot.policies.act.configuration_act import ACTConfig
from lerobot.policies.act.modeling_act import ACTPolicy
from lerobot.policies.factory import make_pre_post_processors
from torch.utils.data import ConcatDataset, DataLoader

CHUNK = 8  # actions that the policy predicts at a time


def opened(root: Path, **options: Any) -> LeRobotDataset:
    """The dataset in a folder."""
    return LeRobotDataset(root.name, root=root, video_backend="pyav", **options)


def same_frames(one: LeRobotDataset, other: LeRobotDataset, first: int) -> int:
    """Raise unless the frames of ``one`` are those of ``other`` from frame ``first`` on; how many were compared."""
    numbers = range(0, len(one), max(1, len(one) // 12))
    for number in numbers:
        mine, its = one[number], other[first + number]
        for key in ("observation.state", "action", *one.meta.camera_keys):
            assert torch.equal(mine[key], its[key]), f"frame {number}: {key} differs"
        assert mine["task"] == its["task"], f"frame {number}: {mine['task']!r} is {its['task']!r}"
    return len(numbers)


def loss_of_training(root: Path, steps: int = 2) -> list[float]:
    """Losses of a few steps of a small ACT policy."""
    torch.manual_seed(0)
    meta = opened(root).meta
    features = dataset_to_policy_features(meta.features)
    outputs = {key: feature for key, feature in features.items() if feature.type is FeatureType.ACTION}
    config = ACTConfig(
        input_features={key: feature for key, feature in features.items() if key not in outputs},
        output_features=outputs,
        chunk_size=CHUNK,
        n_action_steps=CHUNK,
        dim_model=32,
        n_heads=2,
        dim_feedforward=64,
        pretrained_backbone_weights=None,
        device="cpu",
    )
    policy = ACTPolicy(config)
    prepare, _ = make_pre_post_processors(config, dataset_stats=meta.stats)
    dataset = opened(root, delta_timestamps={"action": [step / meta.fps for step in range(CHUNK)]})
    optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-3)
    losses = []
    for batch in islice(DataLoader(dataset, batch_size=4, shuffle=True), steps):
        loss, _ = policy.forward(prepare(batch))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert all(torch.isfinite(torch.tensor(losses))), losses
    return losses


def streamed(root: Path) -> int:
    """Raise unless the streaming reader gives every frame once, as the other reader does; how many it gave."""
    plain = opened(root)
    seen = set()
    for frame in StreamingLeRobotDataset(root.name, root=root, buffer_size=8):
        number = int(frame["index"])
        seen.add(number)
        for key in plain.meta.camera_keys:
            off = (frame[key] - plain[number][key]).abs().max()
            assert off < 0.02, f"frame {number}: {key} is off by {off:.3f}"
        assert frame["task"] == plain[number]["task"], f"frame {number}"
    assert seen == set(range(len(plain))), f"{len(seen)} of {len(plain)} frames"
    return len(seen)


def check(source: Path, futures: Path, mergeable: Path) -> dict[str, Any]:
    """Everything; what was found."""
    mine, its = opened(futures), opened(source)
    shared = {key: (value["dtype"], tuple(value["shape"])) for key, value in its.meta.features.items()}
    kept = {
        key: (mine.meta.features[key]["dtype"], tuple(mine.meta.features[key]["shape"])) for key in shared
    }
    assert kept == shared, f"{kept} is not {shared}"
    assert set(mine.meta.features) - set(shared) == {"predicted", "recorded"}
    assert set(mine.meta.stats) == set(mine.meta.features)
    found: dict[str, Any] = {"episodes": mine.num_episodes, "frames": len(mine)}
    both = MultiLeRobotDataset([str(source), str(futures)], root=source.parent, video_backend="pyav")
    batch = next(iter(DataLoader(both, batch_size=len(its), shuffle=True)))
    found["of_both_in_a_batch"] = sorted(set(batch["dataset_index"].tolist()))
    plain = ConcatDataset([its, opened(mergeable)])
    found["concatenated"] = list(next(iter(DataLoader(plain, batch_size=8, shuffle=True)))["action"].shape)
    with TemporaryDirectory() as folder:
        whole = Path(folder) / "together"
        roots = [source, mergeable]
        aggregate_datasets([root.name for root in roots], whole.name, roots=roots, aggr_root=whole)
        merged = opened(whole)
        found["merged"] = {"episodes": merged.num_episodes, "frames": len(merged)}
        found["compared"] = same_frames(its, merged, 0) + same_frames(opened(mergeable), merged, len(its))
        found["losses"] = {"futures": loss_of_training(futures), "together": loss_of_training(whole)}
        found["streamed"] = {"futures": streamed(futures), "together": streamed(whole)}
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("source", "futures", "mergeable"):
        parser.add_argument(name, type=Path)
    given = parser.parse_args()
    print(json.dumps(check(given.source.absolute(), given.futures.absolute(), given.mergeable.absolute())))
