"""The command line: one program, to which each distribution adds its commands."""
