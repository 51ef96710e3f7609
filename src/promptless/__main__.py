"""`python -m promptless`, for where the command itself is not on the path."""

from promptless.cli import main

main()
