"""Thin programs for operators and testers: arguments in, calls, text out.

Each runs from a checkout (`python tools/benchmark.py --help`); nothing in `zkstore` imports from here.

The benchmark, in order to read: `load_requests.py` and `load.py` (the load generator, a process of its own),
`fanout.py` (watches, likewise), `contestants.py` (starts and stops the measured servers), `report.py` (table and
picture), `benchmark.py`.

The differential tester, in order to read: `differential_script.py` (steps), `differential_seen.py` (what comes back),
`differential_play.py` (steps on one server), `differential_rules.py` (the deliberate differences),
`differential_values.py`, `differential_bodies.py` and `differential_generate.py` (a script from a seed),
`differential_run.py` (two servers, and shrinking), `differential.py`.

The fuzzer, in order to read: `fuzz_world.py` (a replica without sockets, disk or clock), `fuzz_targets.py` (what bytes
are put to it), `fuzz_wire.py`.

Failures: `explore.py` goes through all that can happen to a small ensemble; `simulate.py` runs worlds made from seeds,
with clients and failures, and makes a failing case smaller; `museum.py` brings bugs of the past back, to see that they
are found; `nemesis.py` does to real server processes what `simulate.py` does to simulated ones. `crash_test.py` is the
same for whoever wants to see it for himself, on one server or several: in order to read, `crash_report.py` (text and
picture), `crash_lanes.py` (runs side by side), `crash_test.py`.
"""
