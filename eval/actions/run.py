"""``vidjacobi eval actions``: from finished batches to lines that say whether frames follow their actions."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vidjacobi.errors import InvalidArgument, number_of
from vidjacobi.eval.actions.following import Agreement, agreement, line_of, verdict
from vidjacobi.eval.actions.futures import ActedClip, Batch, clips_of, open_batches
from vidjacobi.eval.actions.readers import FEATURES, Actions, Steps, read_held_out
from vidjacobi.eval.actions.report import PAGE, write_report, write_results
from vidjacobi.output.atomic import replacing_folder, write_json
from vidjacobi.output.run_folder import RunFolder
from vidjacobi.registry import lookup
from vidjacobi.runtime import versions

SETTINGS = "eval_actions.json"  # marks the folder: results.json lies in folders of other evaluations too
TRUE, FROZEN, OTHERS = "true frames", "frozen", "predicted, against another recording's actions"
Tell = Callable[[str], None]


@dataclass(frozen=True)
class ActionRun:
    """An evaluation of action following.

    Attributes:
        folders: of batches over the same clips, the judged one first.
        source: where the dataset lies now; None: where it lay.
        column: of the actions, where the batch kept none; None: action.
        features, reader: keys of ``vidjacobi.eval.actions.readers.FEATURES`` and ``READERS``.
        clips: futures at most; None: all.
        videos: clips that the page plays.
        seed: of the folds and the network.
    """

    folders: tuple[Path, ...]
    source: Path | None = None
    column: str | None = None
    features: str = "pixels"
    reader: str = "ridge"
    clips: int | None = None
    videos: int = 4
    seed: int = 0


def judge(config: ActionRun, out: Path, overwrite: bool, tell: Tell) -> dict[str, Any]:
    """Everything; returns the results. ``out`` is made whole or not at all.

    Raises InvalidArgument, BadInput, and BadOutput where ``out`` exists (with ``overwrite``: where it is not ours).
    """
    RunFolder(out, "evaluation of actions", SETTINGS).claim(overwrite)
    lookup("features", config.features, FEATURES)
    batches = open_batches(config.folders)
    clips, notes = clips_of(batches, config.source, config.column, config.clips)
    tell(
        f"{number_of(len(clips), 'future')} of {number_of(len({clip.item.episode for clip in clips}), 'recording')}"
    )
    lines = measure(clips, batches, config)
    results = {
        "lines": lines,
        "verdict": verdict(lines),
        "warnings": notes + warnings_of(clips, batches),
        "settings": {**asdict(config), "folders": [str(folder) for folder in config.folders]},
        "clips": len(clips),
        "recordings": len({clip.item.episode for clip in clips}),
        "numbers_of_an_action": clips[0].actions.shape[1],
        "versions": versions(),
    }
    results["settings"]["source"] = None if config.source is None else str(config.source)
    out.parent.mkdir(parents=True, exist_ok=True)
    with replacing_folder(out) as made:
        write_json(made / SETTINGS, results["settings"])
        write_results(made, results)
        write_report(made / PAGE, results, clips[: config.videos])
    return results


def measure(clips: Sequence[ActedClip], batches: Sequence[Batch], config: ActionRun) -> list[dict[str, Any]]:
    """A line for the true frames, the judged batch, the controls and the other batches. Raises BadInput."""
    see = FEATURES[config.features]
    recordings = [clip.item.episode for clip in clips]
    recorded = [clip.actions for clip in clips]
    if len(widths := {actions.shape[1] for actions in recorded}) > 1:
        raise InvalidArgument(
            f"actions have {sorted(widths)} numbers: clips of one kind of action are needed"
        )
    shown: dict[str, list[Steps]] = {
        batch.name: [see(clip.shown[batch.name]) for clip in clips] for batch in batches
    }
    shown[FROZEN] = [see(frozen(clip)) for clip in clips]
    true = [see(clip.true) for clip in clips]
    read = read_held_out(true, recorded, recordings, shown, config.reader, config.seed)

    def against(name: str, wanted: list[Actions]) -> Agreement:
        return agreement(read[name], wanted, recordings)

    first, *rest = batches
    own, predicted = against("true", recorded), against(first.name, recorded)

    def line(name: str, kind: str, found: Agreement) -> dict[str, Any]:
        return line_of(name, kind, found, own, predicted)

    lines = [
        line(TRUE, "reader", own),
        line(first.name, "predicted", predicted),
        line(FROZEN, "control", against(FROZEN, recorded)),
        line(OTHERS, "control", against(first.name, others(recorded, recordings))),
    ]
    for batch in rest:
        control = batch.choice not in ("", "dataset")
        lines.append(line(batch.name, "control" if control else "predicted", against(batch.name, recorded)))
        given = [clip.fed[batch.name] for clip in clips]
        told = [actions for actions in given if actions is not None]
        if control and len(told) == len(clips) and np.ptp(np.concatenate(told), 0).any():
            lines.append(
                line(f"{batch.name}, against the actions it was fed", "fed", against(batch.name, told))
            )
    return lines


def frozen(clip: ActedClip) -> np.ndarray:
    """The context's last frame, held still."""
    return np.concatenate([clip.true[:2], np.repeat(clip.true[1:2], len(clip.true) - 2, 0)])


def others(actions: list[Actions], recordings: list[str]) -> list[Actions]:
    """Of each clip the actions of a clip of another recording, half of the clips further on."""
    count = len(actions)
    turned = [(number + count // 2 + step) % count for number in range(count) for step in range(count)]
    rows = np.array(turned).reshape(count, count)
    return [
        actions[next(int(other) for other in row if recordings[other] != recordings[number])]
        for number, row in enumerate(rows)
    ]


def warnings_of(clips: Sequence[ActedClip], batches: Sequence[Batch]) -> list[str]:
    """What to beware of."""
    found = []
    if clips[0].fed[batches[0].name] is None:
        found.append(
            f"the model of {batches[0].name} was told no actions: what is read off its frames are those it made up"
        )
    recordings = len({clip.item.episode for clip in clips})
    if recordings < 20:
        found.append(
            f"{recordings} recordings are few, for the reader and for the intervals: take 20 or more"
        )
    return found
