"""How many bytes a session ships at the least, and how long that takes at the least.

For arms that send weights or state with every call. State is counted of what keeps keys
and values of a text, and of nothing else; answers, headers and an encoder's output come
on top. The time is that of the wire alone.
"""

from collections.abc import Iterator, Mapping
from random import Random

from msgspec import Struct

from djinnload.models import families, weights
from djinnload.schedule import Population
from djinnload.spi import Model, Outcome, Reply, Request, Session

__all__ = ("LOOPBACK_PER_S", "Traffic", "of_session", "ships")

#: Bytes a second of one large message over loopback: 2 to 4 GB/s, less what it costs to
#: read and check them. Of a network that the target has, its own rate counts.
LOOPBACK_PER_S = 3e9
#: Requests after which a session that is rehearsed counts as endless.
_REHEARSED = 100_000
#: (layers, width of a key of all heads, heads, heads that keep keys) in configurations.
_STATES = (
    ("n_layer", "n_embd", "", ""),
    ("num_hidden_layers", "hidden_size", "num_attention_heads", "num_key_value_heads"),
    ("decoder_layers", "d_model", "", ""),
)
_TOKENS = ("input_ids", "decoder_input_ids")


class Traffic(Struct, frozen=True):
    """What one session, or several, put on the wire.

    Attributes:
        requests: Calls.
        inputs: Bytes of what is asked, weights included, without state.
        sent: Bytes of all that goes there.
        received: Bytes of state that comes back.
    """

    requests: int
    inputs: int
    sent: int
    received: int

    def seconds(self, per_s: float) -> float:
        """Return the time of all bytes, each way in turn, at *per_s* a second."""
        return (self.sent + self.received) / per_s


def ships(behaviours: Mapping[str, str]) -> bool:
    """Return whether an arm sends weights or state with its calls."""
    weighty = behaviours.get("weights") == "per_call"
    return weighty or behaviours.get("state") == "shipped"


def of_session(
    population: Population, models: Mapping[str, Model], sizes: dict[str, int]
) -> Traffic | None:
    """Return the traffic of a session whose replies hold nothing.

    Args:
        population: Its sessions know what they ask; what needs real answers gives None.
        models: By name.
        sizes: Bytes of weights of models by name, as far as known; gets those that are
            needed, which takes seconds for large ones.
    """
    behaviours = population.behaviours
    requests = inputs = sent = received = positions = 0
    try:
        for request in _asked(population):
            requests += 1
            asked = _inputs(request, behaviours)
            if behaviours.get("weights") == "per_call":
                name = request.model
                if name not in sizes:
                    sizes[name] = weights.nbytes(models[name])
                asked += sizes[name]
            inputs += asked
            sent += asked
            if behaviours.get("state") == "shipped" and request.state is not None:
                each = _state_bytes(models.get(request.model))
                if request.step != "decode":
                    positions = 0
                sent += positions * each
                positions += _positions(request)
                # Nobody needs what the last call of a session made.
                received += 0 if request.last else positions * each
    except Exception:  # noqa: BLE001 - it needs real answers; that is no fault
        return None
    return Traffic(requests, inputs, sent, received) if requests < _REHEARSED else None


def _asked(population: Population) -> Iterator[Request]:
    session = population.session(Session(rng=Random(0)))  # a rehearsal draws anything
    try:
        request = next(session)
        for _ in range(_REHEARSED):
            yield request
            request = session.send(Reply(Outcome.OK))
    except StopIteration:
        return
    finally:
        session.close()


def _inputs(request: Request, behaviours: Mapping[str, str]) -> int:
    recomputed = behaviours.get("state") == "recomputed"
    tensors = request.full if recomputed and request.full else request.inputs
    return sum(tensor.nbytes for tensor in tensors.values())


def _positions(request: Request) -> int:
    """Return the positions that a request adds to the state, of all its sequences."""
    fed = (request.inputs[name] for name in _TOKENS if name in request.inputs)
    return sum(each.shape[0] * each.shape[1] for each in fed)


def _state_bytes(model: Model | None) -> int:
    """Return the bytes of keys and values of one position; 0: it is not known."""
    if model is None:
        return 0
    for layers, width, heads, keeping in _STATES:
        if layers in model.config and width in model.config:
            share = 1.0
            if heads and model.config.get(keeping):
                share = model.config[keeping] / model.config[heads]
            values = float(model.config[layers] * model.config[width]) * share
            return round(2 * values * families.DTYPES[model.dtype])
    return 0
