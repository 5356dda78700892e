"""Whether a batch fits in memory, asked before anything is loaded."""

from collections import Counter
from collections.abc import Sequence
from functools import partial

from vidjacobi.batch.settings import Plan
from vidjacobi.decoding.compiled import check_mode
from vidjacobi.estimate.memory import MemoryQuestion, check_memory, this_device
from vidjacobi.estimate.scenario import RolloutShape
from vidjacobi.loading import outline_to_load
from vidjacobi.models.offload import check_device
from vidjacobi.runtime import choose


def check_room(plan: Plan, devices: Sequence[str]) -> None:
    """Refuse what cannot be offloaded or compiled on ``devices``, and what is predicted not to fit with a worker on
    each of them that has weights and rows of its own.

    Raises InvalidArgument with the settings that would make it fit, and BadCheckpoint.
    """
    config = plan.config
    for runtime in {choose(name, config.dtype) for name in devices}:
        check_mode(config.compile, runtime.device, config.offload)
        if config.offload:
            check_device(runtime.device)
    if not config.memory_check:
        return
    outline = partial(outline_to_load, config.model, config.tokenizer)
    shape = RolloutShape(plan.decoder, config.rows, 1, config.context, config.frames)
    question = MemoryQuestion(outline, shape, config.offload, in_batch=True)
    for device, workers in Counter(devices).items():
        check_memory(question, this_device(choose(device, config.dtype), workers))
