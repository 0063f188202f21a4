"""What must hold: the history of one run, and the rules by which it is judged.

    history     what clients asked and were told, and what servers applied
    check       one whole history, all rules
    replay      all committed txns once more, with what clients were told beside it
    comparing   answers and watch events against the tree of their zxid
    answers     the rules of requests, written down a second time
    watching    the rules of watches, written down a second time
    invariants  what must hold on all servers together, at every step
    verdict     what came of it, with a count of how often each rule was looked at

The nemesis has real servers judged by the same rules.
"""
