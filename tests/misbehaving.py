"""Executors that misbehave; every answer looks right, and none may pass a check."""

import time

from msgspec.structs import replace

from djinnload.models import catalog, weights
from djinnload.server.executor import Executor
from djinnload.server.loading import content_sha256
from djinnload.spi import Model

OTHER_SEED = 987_654_321
SLOW_S = 0.02


class Zeros(Executor):
    """Answers zeros, of the right shape, in good time."""

    def answer(self, work):
        outputs, reused = super().answer(work)
        return tuple(replace(t, data=bytes(t.nbytes)) for t in outputs), reused


class Forgets(Executor):
    """Forgets the KV cache, and says that it did not."""

    def forward(self, loaded, arguments, kept, *, keep):
        found, _ = super().forward(loaded, arguments, None, keep=keep)
        return found, 0 if kept is None else kept.tokens


class OtherSeed(Executor):
    """Runs another seed's weights, and claims to have those that it was asked for."""

    def load(self, recipe):
        if recipe.weights is None:
            wanted = catalog.parse_id(recipe.model_id)
            other = replace(wanted, seed=OTHER_SEED)
            claimed, sha256 = wanted.model_id, weights.sha256(wanted)
            loaded = super().load(replace(recipe, model_id=other.model_id))
        else:
            claimed = recipe.architecture.rpartition(".")[2]
            dtype = recipe.weights[0].dtype
            other = Model("other", claimed, recipe.config, dtype, OTHER_SEED)
            sha256 = content_sha256(recipe.weights)
            tensors = tuple(weights.tensors(other))
            loaded = super().load(replace(recipe, weights=tensors))
        return replace(loaded, name=claimed, weights_sha256=sha256)


class Ignores(Executor):
    """Runs what it has, and keeps what it is given: no behaviour makes a difference."""

    def answer(self, work):
        return super().answer(replace(work, weights=(), plans=False))


class Shortens(Executor):
    """Answers with half of each output's last dimension."""

    def answer(self, work):
        outputs, reused = super().answer(work)
        return tuple(map(halved, outputs)), reused


def halved(tensor):
    short = tensor.numpy()[..., : tensor.shape[-1] // 2]
    return type(tensor).of(tensor.name, short)


class Slow(Executor):
    """Takes 20 ms for each request, so that its limit is known."""

    def answer(self, work):
        time.sleep(SLOW_S)
        return super().answer(work)


class Tramples(Executor):
    """Has an arena in which who takes a block writes over the beginning of the last."""

    def __init__(self, settings):
        super().__init__(replace(settings, memory="arena"))
        allocator = self.churn._allocator
        given, before = allocator.allocate, []

        def allocate(session, nbytes):
            held = given(session, nbytes)
            if before:
                allocator.write(before[-1], b"trampled")
            before[:] = [held.address]
            return held

        allocator.allocate = allocate


KINDS = {
    "tramples": Tramples,
    "slow": Slow,
    "zeros": Zeros,
    "ignores": Ignores,
    "shortens": Shortens,
    "forgets": Forgets,
    "other-seed": OtherSeed,
    "good": Executor,
}
