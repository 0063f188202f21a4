"""Thin programs for operators and testers: arguments in, calls, text out.

Each runs from a checkout (`python tools/benchmark.py --help`); nothing in `zkstore` imports from here.

The benchmark, in order to read: `load_requests.py` and `load.py` (the load generator, a process of its own),
`contestants.py` (starts and stops the measured servers), `report.py` (table and picture), `benchmark.py`.
"""
