"""From a seed to a case, all of it data: servers, loads and faults; and from a case that fails to a smaller one."""
