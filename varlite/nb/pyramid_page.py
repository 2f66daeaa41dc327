"""The pyramid explorer as HTML that needs no kernel and no other host: one sample, all its swaps worked out before."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from varlite.nb import widgets
from varlite.nb.pyramid import Pyramid, alternatives, redraw, sample_pyramid
from varlite.nb.widgets import explorer
from varlite.tokenizer import VQVAE

REDRAWS = 3  # of each scale, with seeds of their own
ONE_CHANGE = " Without a kernel it is one change at a time: the next one starts from the first sample."


def explorer_html(
    model: Any, tokenizer: VQVAE, class_names: Sequence[str] = (), label: int = 0, seed: int = 0,
    chosen: tuple[int, int] = (0, 0), **dials: Any,
) -> str:  # fmt: skip
    """A piece of a page: the explorer of one sample, as the widget draws it, with its script, style and pictures.

    All tokens can be chosen and swapped for their likeliest codes, every scale drawn again REDRAWS times; one change at
    a time. chosen: the token (scale, place) to begin with. The other arguments are those of `PyramidExplorer`.
    About 1 MB for fashion-var-d4. Raises ValueError as `sample_pyramid` does.
    """
    names = list(class_names) or [str(c) for c in range(model.config.classes)]
    sample = sample_pyramid(model, tokenizer, label, seed, **dials)
    data = worked_out(model, tokenizer, sample, names) | {"chosen": ",".join(map(str, chosen))}
    folder = Path(widgets.__file__).parent
    render, still = ((folder / name).read_text() for name in ("explorer.js", "explorer_still.js"))
    script = f"{render.replace('export default { render };', '')}\n{still}"
    # "<" could end the script element early, in a class name say.
    return (
        f"<style>\n{explorer.CSS.read_text()}</style>\n"
        f'<div data-varlite="explorer"></div>\n<script type="module">\n{script}'
        f"const data = {json.dumps(data, separators=(',', ':')).replace('<', chr(92) + 'u003c')};\n"
        "for (const el of document.querySelectorAll('[data-varlite=\"explorer\"]:empty')) "
        "render({ model: still(data), el });\n</script>\n"
    )


def worked_out(model: Any, tokenizer: VQVAE, sample: Pyramid, names: Sequence[str]) -> dict[str, Any]:
    """Everything that explorer_still.js answers with; a picture is a number in the list `pictures`, each once."""
    pictures: dict[str, int] = {}

    def numbered(view: dict[str, Any]) -> dict[str, Any]:
        return view | {"pictures": [pictures.setdefault(url, len(pictures)) for url in view["pictures"]]}

    def changed(other: Pyramid, words: str) -> dict[str, Any]:
        return numbered(explorer.view_of(other, words + ONE_CHANGE, undo=True))

    details, swaps = {}, {}
    for k, length in enumerate(sample.scales.lengths):
        for place in range(length):
            codes = alternatives(model, tokenizer, sample, k, place)
            detail = explorer.detail_of(sample, k, place, codes)
            for of in detail["codes"]:
                of |= {name: pictures.setdefault(of[name], len(pictures)) for name in ("after", "end")}
            details[f"{k},{place}"] = detail
            for one in codes:
                if one.code != sample.idx[k][place]:
                    other = replace(sample, idx=one.idx, images=one.images)  # its view has nothing else
                    swaps[f"{k},{place},{one.code}"] = changed(other, explorer.swap_words(sample, other, k, place))
    redraws = []
    for k in range(sample.scales.K):
        others = [redraw(model, tokenizer, sample, k, max(sample.seeds) + 1 + i) for i in range(REDRAWS)]
        redraws.append([changed(other, explorer.redraw_words(sample, other, k)) for other in others])
    view = numbered(explorer.view_of(sample, explorer.drawn_words(sample, names), fresh=True))
    frame = explorer.frame_of(sample, tokenizer) | {"still": True}
    made = {"frame": frame, "view": view, "details": details, "swaps": swaps, "redraws": redraws}
    return made | {"pictures": list(pictures)}
