"""The worker and the queue client beside their peers, measured in one run.

    make bench-worker                              everything, 20 minutes; the table in bench/README.md, JSON in build/
    make bench-worker PARTS=throughput QUICK=1     one part, one round, nothing written
    .venv/bin/python -m bench.worker throughput --quick ours node                    while working on the engine
    .venv/bin/python -m bench.worker throughput sleep ours stdlib node --concurrency 10 50 --rounds 3 --goals

Words are names of parts and of peers; without any of a kind all of it are meant. `--list` names them.

How it measures: the server runs on the first processor that this process may use, the worker on the last. Jobs are
there before the worker starts (a snapshot of what the peer's own producer added, restored for each round). The worker
process itself notes the clock and its own processor time at the start of some jobs (`marks`), so nothing of the
measuring travels over Redis. Rounds are interleaved: every peer has its turn in each. A figure is the median of the
rounds. BullMQ for Node is used where `tests/node/node_modules` has it, the other peers where `.venv-bench`
(`make bench-venv`) has them; what is missing is named and left out.
"""
