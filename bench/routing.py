"""What asking the customer adds beyond its own answer, and what dead customers cost the others.

Questions go from one process, as in the switch, to endpoints in another, without engines and calls.
`python -m bench.routing [SECONDS]`.
"""

import asyncio
import multiprocessing
import statistics
import sys
import time
from typing import Final

from aiohttp import web

from xiaohao.outgoing.remembered import RememberingNetwork
from xiaohao.routing import wire
from xiaohao.routing.asking import Desk
from xiaohao.routing.fairness import Places
from xiaohao.routing.model import Terms

_RATE: Final = 50
_CUSTOMERS: Final = 100
_ANSWER_S: Final = 0.020
_SECRET: Final = "whsec_" + "YSBzZWNyZXQgb2YgdGhlIGJlbmNobWFyayBvbmx5ISE="


def _serve(port: int) -> None:
    async def answer(request: web.Request) -> web.Response:
        await asyncio.sleep(3600 if request.path == "/dead" else _ANSWER_S)
        return web.json_response({"action": "connect", "callee": "+8613900000002"})

    app = web.Application()
    app.router.add_post("/{path:.*}", answer)
    web.run_app(app, host="127.0.0.1", port=port, print=None, access_log=None)


async def _run(port: int, seconds: float, dead: float) -> list[float]:
    """The ms beyond the endpoint's own answer, of customers that answer."""
    network, places = RememberingNetwork(True), Places(150)
    desks = []
    for number in range(_CUSTOMERS):
        path = "dead" if number < _CUSTOMERS * dead else "alive"
        terms = Terms(_SECRET, f"http://127.0.0.1:{port}/{path}")
        desks.append((path, Desk(f"cus_{number}", terms, network, places)))
    added: list[float] = []

    async def ask(path: str, desk: Desk, number: int) -> None:
        data = wire.QuestionData(str(number), "+8613800000001", "+861062000001", "", None, None, 800)
        began = time.perf_counter()
        asked = await desk.ask(*wire.question(data, 0), 1.5)
        if path == "alive":
            assert asked.answer is not None, asked.verdict
            added.append((time.perf_counter() - began - _ANSWER_S) * 1000)

    tasks, began = [], time.perf_counter()
    for number in range(round(seconds * _RATE)):
        await asyncio.sleep(max(began + number / _RATE - time.perf_counter(), 0))
        tasks.append(asyncio.ensure_future(ask(*desks[number * 37 % _CUSTOMERS], number)))
    await asyncio.gather(*tasks)
    for _, desk in desks:
        desk.close()
    network.close()
    return added[len(added) // 5 :]  # connections are made in the first part


def _line(name: str, added: list[float]) -> str:
    cuts = statistics.quantiles(added, n=100)
    found = f"p50 {cuts[49]:6.2f} ms  p99 {cuts[98]:6.2f} ms  max {max(added):6.2f} ms"
    return f"{name:34} n={len(added):5}  {found}"


def main() -> None:
    """Measure and print, alternating, so that what else the machine does hits both alike."""
    seconds, port = float(sys.argv[1]) if len(sys.argv) > 1 else 20.0, 18_479
    server = multiprocessing.Process(target=_serve, args=(port,), daemon=True)
    server.start()
    time.sleep(2)
    for _ in range(2):
        for name, dead in (("all answer in 20 ms", 0.0), ("20 % of the customers are dead", 0.2)):
            print(_line(name, asyncio.run(_run(port, seconds, dead))))
    server.kill()  # its hanging requests would each have a last word


if __name__ == "__main__":
    main()
