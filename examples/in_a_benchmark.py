"""djinnload inside somebody's asyncio benchmark, beside other work of the same loop.

    python examples/in_a_benchmark.py

Nothing is printed, no signal handler is installed, and a run that cannot be trusted is
returned, not raised: the caller decides.
"""

import asyncio
from pathlib import Path

import djinnload
from djinnload import Progress


async def main() -> None:
    """Measure a server while something else of ours goes on."""
    beats = 0

    async def ours() -> None:
        nonlocal beats
        while True:
            await asyncio.sleep(0.05)
            beats += 1

    def watch(progress: Progress) -> None:
        # Twice a second, in this loop: be fast.
        if progress.phase == "measure":
            done = {name: live.n for name, live in progress.populations.items()}
            print(f"{progress.cell}: {done}")

    scenario = djinnload.load("quick").replace(
        {"scenario.repeats": 1, "population.batch.arrival.rate": "0.2 of capacity"}
    )
    other = asyncio.create_task(ours())
    result = await djinnload.run(scenario, out=Path("results"), on_progress=watch)
    other.cancel()

    status, reasons = result.verdict["status"], result.verdict["reasons"]
    print(f"{status}, beside {beats} beats of ours; {result.path}")
    for reason in reasons:
        print(f"  {reason['code']}: {reason['message']}")
    waits = result.summary["arms"]["qos"]["all"]["realtime"]["queue_ms"]
    print(f"realtime waited {waits['mean']:.2f} ms on average")


if __name__ == "__main__":
    asyncio.run(main())
