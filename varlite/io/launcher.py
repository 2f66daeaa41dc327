"""Variables by which launchers (torchrun, mpirun, srun) tell a process that it is one of several."""

import os

SIZES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
RANKS = ("RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK")


def announced_processes() -> int:
    """How many processes a launcher announces. Raises ValueError if a variable announces several, but others that they
    need to meet are missing.

    Such variables are left over from the shell of a pod or a job; torch would wait for the others, or fail.
    """
    size = 1
    for name in SIZES:
        value = os.environ.get(name, "1")
        if value == "1":
            continue
        if not value.isdecimal() or value == "0":
            raise ValueError(f"{name} is {value!r} in the environment, not a number of processes: unset {name}")
        missing = [] if os.environ.get("MASTER_ADDR") else ["MASTER_ADDR"]
        missing += [] if any(rank in os.environ for rank in RANKS) else ["RANK"]
        if missing:
            raise ValueError(
                f"{name}={value} in the environment announces {value} processes, but {' and '.join(missing)} is not "
                f"set: for one process `unset {name}`, for several start with torchrun --nproc-per-node {value} "
                "-m -- varlite ..."
            )
        size = max(size, int(value))
    return int(os.environ.get("WORLD_SIZE") or size)  # the innermost launcher's, if it is torchrun
