"""The running service: what it is told, in which order it starts and stops, and how the parts are joined.

Read in this order: `service` (start to stop), `pipeline` (segments to the disk and back), `checkpoints`, `view` (what
it can tell about itself); then `config` and the modules it names, `logs`, `notify`.
"""
