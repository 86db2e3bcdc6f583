"""Workloads that break the contract of verify, or say how they were called."""

from djinnload.spi import Check
from djinnload.workloads.echo import Echo


class NoVerify:
    Options = Echo.Options

    def __init__(self, options, assets):
        pass


class Raises(Echo):
    def verify(self, request, reply, reference):
        raise RuntimeError("oh\nno")


class ReturnsTrue(Echo):
    def verify(self, request, reply, reference):
        return True


class Dies(Echo):
    def verify(self, request, reply, reference):
        import os

        os._exit(3)


class SaysWhere(Echo):
    def verify(self, request, reply, reference):
        import os

        return Check(
            ok=True, max_abs_diff=os.getpriority(os.PRIO_PROCESS, 0) + os.getpid() * 100
        )


class Counts(Echo):
    def verify(self, request, reply, reference):
        reference.state["n"] = reference.state.get("n", 0) + 1
        return Check(ok=True, max_abs_diff=reference.state["n"])
