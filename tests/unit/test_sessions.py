"""KV sessions: kept, taken, put back, forgotten."""

import pytest

from djinnload.server.sessions import Kept, SessionError, Sessions


def kept(name, nbytes=10, fingerprint="m"):
    return Kept(fingerprint, name, 1, nbytes)


def filled(*names, max_sessions=3, max_bytes=100):
    sessions = Sessions(max_sessions=max_sessions, max_bytes=max_bytes)
    for name in names:
        sessions.begin(name)
        sessions.put(name, kept(name))
    return sessions


def test_continue():
    """What was put is taken, once, and its bytes are counted while it is idle."""
    sessions = filled("a")
    assert sessions.nbytes == 10
    assert sessions.take("a", "m").cache == "a"
    assert (sessions.nbytes, len(sessions)) == (0, 1)
    with pytest.raises(SessionError, match="a is busy with another request"):
        sessions.take("a", "m")
    with pytest.raises(SessionError, match="busy"):
        sessions.begin("a")
    sessions.put("a", kept("b", 20))
    assert (sessions.take("a", "m").cache, sessions.nbytes) == ("b", 0)


def test_unknown():
    """A decode without a prefill says so, and may be followed by a prefill."""
    sessions = filled()
    with pytest.raises(SessionError, match="Session a has no prefill on this server"):
        sessions.take("a", "m")
    sessions.begin("a")


def test_finished():
    """A finished session says that it is, and may be begun anew."""
    sessions = filled("a")
    sessions.free("a")
    assert len(sessions) == 0
    with pytest.raises(SessionError, match="a is finished"):
        sessions.take("a", "m")
    sessions.begin("a")
    sessions.put("a", kept("a"))
    assert len(sessions) == 1


def test_another_model():
    """No model continues another's cache, and trying does not take it away."""
    sessions = filled("a")
    with pytest.raises(SessionError, match="a belongs to model m"):
        sessions.take("a", "n")
    assert sessions.take("a", "m").cache == "a"


def test_a_prefill_starts_over():
    """Beginning a session that is idle drops what it had."""
    sessions = filled("a")
    sessions.begin("a")
    assert sessions.nbytes == 0
    sessions.put("a", kept("new"))
    assert (sessions.take("a", "m").cache, sessions.nbytes) == ("new", 0)


def test_too_many():
    """Of too many, the longest idle is forgotten, and says so."""
    sessions = filled("a", "b", "c")
    sessions.put("a", sessions.take("a", "m"))
    sessions.begin("d")
    sessions.put("d", kept("d"))
    with pytest.raises(SessionError, match="b was forgotten: too many, or too large"):
        sessions.take("b", "m")
    assert {"a", "c", "d"} == {sessions.take(n, "m").cache for n in "acd"}


def test_too_large():
    """Of too many bytes as well; one that is too large by itself is not kept."""
    sessions = filled("a", "b", max_bytes=25)
    sessions.begin("c")
    sessions.put("c", kept("c"))
    assert sessions.nbytes == 20
    sessions.begin("huge")
    sessions.put("huge", kept("huge", 26))
    assert (sessions.nbytes, len(sessions)) == (0, 0)
    with pytest.raises(SessionError, match="too large"):
        sessions.take("huge", "m")
