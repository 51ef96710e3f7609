"""`python -m promptless.cli`."""

from promptless.cli import main

main()
