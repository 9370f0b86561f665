"""`python -m slmx` is the command line."""

from slmx.cli import main

main()
