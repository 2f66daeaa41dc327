"""A widget: one sample's token maps at all scales; click a token, see what it looks at, and swap it or draw on from it.

The sample and every "what if" come from `varlite.nb.pyramid`; here they are put into words that `explorer.js` draws.
"""

from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anywidget
import traitlets
from matplotlib.colors import to_hex

from varlite.io.checks import brief
from varlite.nb.maps import HEAT, shade_map, shades
from varlite.nb.plots import data_url, scale_colours, scale_names
from varlite.nb.pyramid import Alternative, Pyramid, alternatives, changed, redraw, sample_pyramid, swap
from varlite.nb.pyramid_figures import explorer_png
from varlite.tokenizer import VQVAE

SHADES = 48  # of a scale's colour
CSS = Path(__file__).with_name("explorer.css")


class PyramidExplorer(anywidget.AnyWidget):
    """Shows a `Pyramid`, `sample`, and changes it on a click; `chosen` is the token (scale, place) that is looked at.

    class_names: of the list; without them classes are numbers. The other arguments are those of `sample_pyramid`.
    Raises ValueError as that does. What goes wrong after a click is shown.
    """

    _esm, _css = Path(__file__).with_name("explorer.js"), CSS
    frame, view, detail = (traitlets.Dict().tag(sync=True) for _ in range(3))

    def __init__(
        self, model: Any, tokenizer: VQVAE, class_names: Sequence[str] = (), label: int = 0, seed: int = 0, **dials: Any
    ):
        self.model, self.tokenizer = model, tokenizer
        self.class_names = list(class_names) or [str(c) for c in range(model.config.classes)]
        self.sample, self.chosen = sample_pyramid(model, tokenizer, label, seed, **dials), (0, 0)
        self.past: deque[tuple[Pyramid, str]] = deque(maxlen=20)  # a large model's takes 40 MB
        self.codes: list[Alternative] = []
        self._answers = 0
        frame = frame_of(self.sample, tokenizer, self.class_names)
        super().__init__(frame=frame, **self._look(drawn_words(self.sample, self.class_names), fresh=True))
        self.on_msg(lambda _, message, __: self.answer(message))

    def __repr__(self) -> str:  # what a page that shows no widgets says
        name, scales = self.class_names[self.sample.label], self.sample.scales
        return f"PyramidExplorer({name}, {scales.K} scales, {scales.total} tokens)"

    def _repr_mimebundle_(self, **settings: Any) -> Any:
        """Its static twin goes with it, for pages that show no widgets."""
        bundle = super()._repr_mimebundle_(**settings)
        data = bundle[0] if isinstance(bundle, tuple) else bundle
        if data is not None:
            data["image/png"] = explorer_png(self.sample, self.tokenizer, *self.chosen, self.codes)
        return bundle

    # What a click asks for

    def choose(self, k: int, place: int) -> None:
        """Look at a token."""
        before, self.chosen = self.chosen, (k, place)
        try:
            self._show(self.view["words"], self.view["fresh"])
        except ValueError:
            self.chosen = before
            raise

    def swap(self, k: int, place: int, code: int) -> None:
        """Give a token another code, and draw everything finer again with the random numbers that it had."""
        other = swap(self.model, self.tokenizer, self.sample, k, place, code)
        self._change(other, swap_words(self.sample, other, k, place))

    def redraw(self, from_k: int) -> None:
        """Draw a scale and everything finer again, with the next seed."""
        other = redraw(self.model, self.tokenizer, self.sample, from_k, max(self.sample.seeds) + 1)
        self._change(other, redraw_words(self.sample, other, from_k))

    def undo(self) -> None:
        """Back to the sample before the last change."""
        if self.past:
            self.sample, words = self.past.pop()
            self._show(words, fresh=True)

    def draw(self, label: int, seed: int | str) -> None:
        """Another sample. Raises ValueError for a seed that is no whole number."""
        if not str(seed).isdigit():
            raise ValueError(f"seed: type a whole number from 0 on, not {brief(seed)}")
        self.sample = sample_pyramid(self.model, self.tokenizer, label, int(seed), **self.sample.dials)
        self.past.clear()
        self._show(drawn_words(self.sample, self.class_names), fresh=True)

    def answer(self, message: dict[str, Any]) -> None:
        """Do what a message of the page asks for; what goes wrong the page is told."""
        message = dict(message)
        asked = message.pop("do")
        try:
            if asked == "redraw":
                self.redraw(message["k"])
            else:
                {"choose": self.choose, "swap": self.swap, "undo": self.undo, "draw": self.draw}[asked](**message)
        except Exception as error:  # whatever it is, the person at the screen has to learn of it
            self._answers += 1
            what = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
            self.detail = self.detail | {"error": what, "answer": self._answers}

    def _change(self, other: Pyramid, words: str) -> None:
        self.past.append((self.sample, self.view["words"]))
        self.sample = other
        self._show(words, fresh=False)

    def _show(self, words: str, fresh: bool) -> None:
        looks = self._look(words, fresh)
        with self.hold_sync():
            self.view, self.detail = looks["view"], looks["detail"]

    def _look(self, words: str, fresh: bool) -> dict[str, Any]:
        self.codes = alternatives(self.model, self.tokenizer, self.sample, *self.chosen)
        self._answers += 1
        view = view_of(self.sample, words, fresh, undo=bool(self.past))
        return {"view": view, "detail": detail_of(self.sample, *self.chosen, self.codes) | {"answer": self._answers}}


# What the page draws, as plain data; the static page takes the same


def frame_of(sample: Pyramid, tokenizer: VQVAE, class_names: Sequence[str] = ()) -> dict[str, Any]:
    """What stays: names and colours of the scales, the shade of each code, the colours of attention."""
    shade_V = shades(tokenizer.quantizer.codebook.weight)
    return {
        "shapes": [list(shape) for shape in sample.scales.shapes],
        "names": scale_names(sample.scales),
        "palette": [
            [opaque(shade_map(colour)(i / (SHADES - 1))) for i in range(SHADES)]
            for colour in scale_colours(sample.scales.K)
        ],
        "shades": (shade_V * (SHADES - 1)).round().int().tolist(),
        "heat": [to_hex(HEAT(i / 31)) for i in range(32)],
        "layers": len(sample.attention_DLL),
        "classes": list(class_names),
    }


def opaque(rgba: Sequence[float]) -> str:
    """A colour as it looks on white."""
    red, green, blue, alpha = rgba
    return to_hex((alpha * red + 1 - alpha, alpha * green + 1 - alpha, alpha * blue + 1 - alpha))


def view_of(sample: Pyramid, words: str, fresh: bool = False, undo: bool = False) -> dict[str, Any]:
    """The sample: tokens and pictures of all scales. fresh: it isn't to be compared with the one shown before."""
    return {
        "label": sample.label, "seeds": list(sample.seeds), "tokens": [idx_l.tolist() for idx_l in sample.idx],
        "pictures": [data_url(img) for img in sample.images], "words": words, "fresh": fresh, "undo": undo,
    }  # fmt: skip


def detail_of(sample: Pyramid, k: int, place: int, codes: Sequence[Alternative]) -> dict[str, Any]:
    """One token: its attention in every layer, in ten thousandths, and its likeliest codes with their pictures."""
    row = sample.scales.spans[k][0] + place
    offered = [
        {"code": one.code, "p": round(one.p, 5), "after": data_url(one.after), "end": data_url(one.end)}
        for one in codes
    ]
    attention = (sample.attention_DLL[:, row] * 10_000).round().int().tolist()
    return {"k": k, "place": place, "attention": attention, "codes": offered, "error": ""}


# Words


def drawn_words(sample: Pyramid, class_names: Sequence[str]) -> str:
    return f"{class_names[sample.label]}, seed {sample.seeds[0]}. Click a token, or move with Tab and the arrow keys."


def swap_words(before: Pyramid, after: Pyramid, k: int, place: int) -> str:
    old, new = (int(sample.idx[k][place]) for sample in (before, after))
    if old == new:
        return f"Code {new} was there already: nothing changes."
    return f"Code {new} in place of {old}. {finer_words(before, after, k)}"


def redraw_words(before: Pyramid, after: Pyramid, from_k: int) -> str:
    name = scale_names(after.scales)[from_k]
    return f"Drawn again from {name} on, with seed {after.seeds[-1]}. {finer_words(before, after, from_k)}"


def finer_words(before: Pyramid, after: Pyramid, k: int) -> str:
    """How many tokens differ at scale k and below."""
    names, counts = scale_names(before.scales), changed(before, after)
    parts = [f"{n} of {of} at {name}" for name, (n, of) in list(zip(names, counts, strict=True))[k:]]
    return f"Tokens that changed: {', '.join(parts)}" + ("; what is coarser stayed bit for bit." if k else ".")
