"""`python -m varlite`, which is how torchrun starts it."""

from varlite.cli import main

main()
