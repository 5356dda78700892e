"""The command line: main.py finds the command, options.py holds the shared flags, each command is a module."""
