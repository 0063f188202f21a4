"""The command line, one file per subcommand: arguments in, a call into the rooms below, text out.

Exit codes: 0 fine, 1 the answer is no or something failed, 2 the arguments make no sense. `main` imports a subcommand
only when it is asked for, so that the shell starts without the server and the server without the shell.
"""
