"""A record of `varlite bench` as a table."""

from typing import Any


def report(record: dict[str, Any]) -> str:
    """A record as a table: ways side by side, their parts below each other."""
    ways: dict[str, dict[str, Any]] = record["ways"]
    stages = list(dict.fromkeys(stage for way in ways.values() for stage in way["ms_by_stage"]))
    rows = [
        *((name, [f"{way[key]:.4g}" for way in ways.values()]) for name, key in NUMBERS.items()),
        ("times as fast as plain", [shown(record["speedup"].get(name), "median") for name in ways]),
        *((f"{s}, ms", [f"{way['ms_by_stage'].get(s, 0):.4g}" for way in ways.values()]) for s in stages),
    ]
    if record["what"] == "sample":
        rows.append(("decoder, times as fast", [shown(record["speedup"].get(name), "decoder") for name in ways]))
        # A model that takes no steps with a cache has none.
        of_ways = [way.get("transformer_ms_by_scale", []) for way in ways.values()]
        of_scale = zip(names_of_steps(record["sides"], len(of_ways[0])), zip(*of_ways, strict=True), strict=False)
        rows += [(f"transformer, {name}, ms", [f"{ms:.4g}" for ms in times]) for name, times in of_scale]
    head = f"{record['model']} ({record['weights']} weights), {record['what']}, batch {record['batch']}, "
    lines = [head + record["machine"], f"{'':28s}" + "".join(f"{name:>12s}" for name in ways)]
    lines += [f"{name:28s}" + "".join(f"{value:>12s}" for value in values) for name, values in rows]
    rate, peak = record["gemm_gflop_per_second"], record["peak_memory_gib"]
    return "\n".join([*lines, f"matrix product {rate} GFLOP/s, peak memory {peak} GiB"])


NUMBERS = {
    "seconds": "seconds", "images a second": "images_per_second", "tokens a second": "tokens_per_second",
    "GFLOP": "gflop", "% of matrix product": "percent_of_gemm", "results equal": "equal",
}  # fmt: skip


def shown(speedup: dict[str, Any] | None, key: str) -> str:
    return "" if speedup is None else f"{speedup[key]:.3g}"


def names_of_steps(sides: list, steps: int) -> list[str]:
    """What each step of the transformer draws: a scale, or for a raster model a token."""
    if steps != len(sides):
        return [f"token {i}" for i in range(steps)]
    return [f"{h} x {w}" for h, w in (side if isinstance(side, (list, tuple)) else (side, side) for side in sides)]
