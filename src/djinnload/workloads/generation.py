"""What workloads of causal language models share: token ids, and answers checked."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from djinnload.models import texts
from djinnload.models.catalog import ready_for
from djinnload.models.checkpoint import to_float32
from djinnload.models.families import read
from djinnload.spi import Assets, Check, Model, Reference, Reply, Request, Tensor

if TYPE_CHECKING:
    import numpy as np

    Ids = np.ndarray[Any, np.dtype[np.int64]]
    Logits = np.ndarray[Any, np.dtype[np.float32]]

__all__ = ("NEEDS", "Generates", "check_logits", "chosen", "request")

_LOGITS_RANK = 3  # batch, position, vocabulary

#: All that a client reads to choose the next token.
NEEDS = ("logits[-1]",)


def request(
    model: str, step: str, fed: "Ids", so_far: "Ids | None", **more: Any
) -> Request:
    """Return a request that feeds *fed*, and *so_far* to a server without state.

    Args:
        model: Its name.
        step: ``prefill`` or ``decode``.
        fed: Token ids, batch × length.
        so_far: All of the session, *fed* too; None: *fed* is all.
        more: Fields of Request.
    """
    full = None if so_far is None else {"input_ids": Tensor.of("input_ids", so_far)}
    inputs = {"input_ids": Tensor.of("input_ids", fed)}
    return Request(model, inputs, step=step, state="kv", full=full, needs=NEEDS, **more)


def chosen(reply: Reply, dtype: str, batch: int, vocabulary: int) -> "Ids | None":
    """Return the likeliest next token of each sequence; None if the reply has none."""
    logits = reply.outputs.get("logits")
    if logits is None or len(logits.shape) != _LOGITS_RANK:
        return None
    if (logits.shape[0], logits.shape[2]) != (batch, vocabulary) or not logits.shape[1]:
        return None
    if logits.dtype not in {dtype, "float32"}:
        return None
    found: Ids = to_float32(logits)[:, -1].argmax(axis=-1)
    return found


class Generates:
    """A workload of a causal language model, whose answers are logits.

    Raises:
        ScenarioError: The model is of another kind.
    """

    def __init__(self, name: str, dtype: str, assets: Assets) -> None:
        self._model: Model = assets.model(name, dtype=dtype)
        ready_for("llm", self._model)
        below = texts.port(self._model).below
        self._vocabulary = int(read(self._model.config, below))
        self._limit = texts.limit(self._model)

    def verify(self, request: Request, reply: Reply, reference: Reference) -> Check:
        """See `check_logits`."""
        return check_logits(
            request,
            reply,
            reference,
            model=self._model,
            vocabulary=self._vocabulary,
        )


def check_logits(
    asked: Request, reply: Reply, reference: Reference, *, model: Model, vocabulary: int
) -> Check:
    """Compare the logits with a local forward over all tokens fed so far.

    Teacher-forced: what was fed is taken from the requests, so that one near tie does
    not make every later answer look wrong. The state of *reference* keeps the tokens.
    """
    import numpy as np

    fed: Ids = asked.inputs["input_ids"].numpy()
    # A prefill begins anew; whatever follows continues.
    before: Ids | None = reference.state.get("ids") if asked.step == "decode" else None
    ids = fed if before is None else np.concatenate([before, fed], axis=1)
    reference.state["ids"] = ids
    length = ids.shape[1]
    shapes = {(ids.shape[0], n, vocabulary) for n in (1, fed.shape[1], length)}
    served, reason = _served(reply.outputs, model.dtype, shapes)
    if served is None:
        return Check(ok=False, reason=reason)
    wanted = _last_logits(reference, asked.model, ids, served.shape[1])
    difference = float(np.abs(served - wanted).max())
    allowed = reference.tolerance(asked.model) * float(wanted.std())
    if difference <= allowed:
        return Check(ok=True, max_abs_diff=difference)
    reason = f"logits differ by {difference:.3g} at most, allowed {allowed:.3g}"
    reason += f" ({asked.step}, {length} tokens in)"
    return Check(ok=False, max_abs_diff=difference, reason=reason)


def _served(
    outputs: Mapping[str, Tensor], dtype: str, shapes: set[tuple[int, int, int]]
) -> "tuple[Logits | None, str]":
    """Return the logits served, or None and what is wrong with them."""
    import numpy as np

    tensor = outputs.get("logits")
    if tensor is None:
        return None, f"no output logits (there is: {', '.join(outputs)})"
    # A server may widen its 16 bits, for numpy has no bfloat16.
    if tensor.dtype not in {dtype, "float32"}:
        return None, f"logits are {tensor.dtype}, not {dtype}"
    if tensor.shape not in shapes:
        any_of = " or ".join(map(str, sorted(shapes)))
        return None, f"logits have shape {tensor.shape}, not {any_of}"
    try:
        served = to_float32(tensor)
    except ValueError:
        return None, f"logits are {tensor.nbytes} bytes, not {tensor.shape}"
    if not np.isfinite(served).all():
        return None, "logits hold NaN or infinity"
    return served, ""


def _last_logits(
    reference: Reference, model: str, ids: "Ids", positions: int
) -> "Logits":
    import numpy as np

    # The output matrix is most of a small model's work; only these rows are compared.
    keep = np.arange(ids.shape[1] - positions, ids.shape[1])
    inputs = (Tensor.of("input_ids", ids), Tensor.of("logits_to_keep", keep))
    outputs = reference.forward(model, {tensor.name: tensor for tensor in inputs})
    return to_float32(outputs["logits"])[:, -positions:]
