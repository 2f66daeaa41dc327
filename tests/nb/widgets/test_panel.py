import json
import re
import threading
import time

import pytest
import torch
from examples import EXAMPLES, lively, tokenizer_for

from varlite.checkpoints.load import load
from varlite.datasets.pixels import to_bytes
from varlite.nb.widgets import panel as module
from varlite.nb.widgets.panel import START, LatestOnly, SamplingPanel, change_html, changes, grid, sample_stages
from varlite.sampling import generate_many

CLASSES = [f"kind {c}" for c in range(10)]


@pytest.fixture
def panel(model, tokenizer, tmp_path):
    panel = SamplingPanel(model, tokenizer, CLASSES, folder=tmp_path / "saved", images=2)
    panel.wait()
    return panel


def text(widget):
    return re.sub(r"<[^>]+>", "", widget.value)


# One at a time, the last one wins


class Work:
    """Jobs that wait to be let go, and note how many run at once."""

    def __init__(self):
        self.done, self.errors, self.running, self.most, self.may_go = [], [], 0, 0, threading.Event()
        self.started, self.latest = threading.Event(), LatestOnly(self, self.errors.append)

    def __call__(self, job):
        self.running += 1
        self.most = max(self.most, self.running)
        self.started.set()
        assert self.may_go.wait(10)
        self.running -= 1
        if isinstance(job, Exception):
            raise job
        self.done.append(job)


def test_what_is_asked_for_during_a_job_leads_to_exactly_one_more_with_the_last_request():
    work = Work()
    work.latest.ask("first")
    assert work.started.wait(10)
    for job in range(100):
        work.latest.ask(job)
    work.may_go.set()
    work.latest.wait()
    assert work.done == ["first", 99] and work.most == 1


def test_two_jobs_never_overlap_however_many_threads_ask():
    work = Work()
    work.may_go.set()

    def ask_often(number):
        for i in range(200):
            work.latest.ask((number, i))

    askers = [threading.Thread(target=ask_often, args=(number,)) for number in range(4)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    work.latest.wait()
    assert work.most == 1 and work.done[-1][1] == 199
    before = len(work.done)
    work.latest.ask("one more")
    work.latest.wait()
    assert work.done[before:] == ["one more"]


def test_asking_returns_at_once_and_a_job_that_fails_does_not_stop_the_next():
    work = Work()
    start = time.monotonic()
    work.latest.ask(ValueError("bad"))
    assert work.started.wait(10)
    with pytest.raises(TimeoutError, match=r"still at work after 0\.01 s"):
        work.latest.wait(0.01)
    work.latest.ask("good")
    assert time.monotonic() - start < 5
    work.may_go.set()
    work.latest.wait()
    assert [str(error) for error in work.errors] == ["bad"] and work.done == ["good"]


# The panel


def test_a_panel_draws_the_pictures_that_the_command_line_would(panel, model, tokenizer):
    (images, _), *rest = generate_many(model, tokenizer, [0, 0], seed=0)
    assert rest == [] and torch.equal(panel.result.images, to_bytes(images))
    assert panel.result.settings == START | {"images": 2}
    assert [len(x) for x in (panel.result.stages, panel.result.idx)] == [4, 4]


def test_each_control_changes_the_picture_and_going_back_restores_it(panel):
    first = bytes(panel.picture.value)
    changes = {"class": 3, "cfg": 9.0, "top_k": 1, "top_p": 0.2, "seed": 1, "smooth": True, "images": 3}
    assert changes.keys() == START.keys() == panel.controls.keys()
    for name, value in changes.items():
        old, panel.controls[name].value = panel.controls[name].value, value
        result = panel.wait()
        assert result.settings == START | {"images": 2, name: value}
        assert bytes(panel.picture.value) != first, name
        panel.controls[name].value = old
        panel.wait()
        assert bytes(panel.picture.value) == first, name


def test_the_null_class_can_be_chosen(panel):
    assert panel.controls["class"].options[-1] == ("no class (null)", 10)
    panel.controls["class"].value = 10
    a = panel.wait()
    panel.controls["cfg"].value = 7.0
    assert torch.equal(a.images, panel.wait().images)  # guidance from the null class to itself


def test_pictures_and_progress_bar_follow_the_scales(model, tokenizer, monkeypatch):
    seen = []
    show = SamplingPanel._show
    monkeypatch.setattr(SamplingPanel, "_show", lambda p, k, images: (show(p, k, images), seen.append(
        (k, p.progress.value, p.progress.bar_style, bytes(p.picture.value)))))  # fmt: skip
    panel = SamplingPanel(model, tokenizer, CLASSES, images=1)
    panel.wait()
    assert [s[:3] for s in seen] == [(k, k + 1, "info") for k in range(4)] and panel.progress.max == 4
    assert len({s[3] for s in seen}) == 4 and seen[-1][3] == bytes(panel.picture.value)
    assert panel.progress.bar_style == "success"


def test_slow_motion_rests_between_the_scales(panel, monkeypatch):
    rests = []
    monkeypatch.setattr(module.time, "sleep", rests.append)
    panel.pause.value = 0.5
    panel.run()
    panel.wait()
    assert rests == [0.5, 0.5, 0.5]


def test_changes_during_a_generation_lead_to_one_more_and_never_to_two_at_once(panel, monkeypatch):
    real, running, most, drawn = module.generate, [0], [0], []
    entered, may_go = threading.Event(), threading.Event()

    def slow(model, tokenizer, labels, on_scale, **settings):
        running[0] += 1
        most[0] = max(most[0], running[0])
        drawn.append(settings["cfg"])

        def hook(step):
            on_scale(step)
            entered.set()
            assert may_go.wait(10)  # in the middle, between two scales

        image = real(model, tokenizer, labels, on_scale=hook, **settings)
        running[0] -= 1
        return image

    monkeypatch.setattr(module, "generate", slow)
    panel.controls["cfg"].value = 2.0
    assert entered.wait(10)
    for value in (3.0, 4.0, 5.0, 6.0):
        panel.controls["cfg"].value = value
    may_go.set()
    assert panel.wait().settings["cfg"] == 6.0
    assert drawn == [2.0, 6.0] and most == [1]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("top_k", 33, "top-k must be an integer from 0 (off) to the codebook size 32, got 33"),
        ("top_k", -1, "top-k must be"),
        ("images", 0, "images must be a number from 1 to 64, got 0"),
        ("images", 65, "images must be"),
    ],
)
def test_a_setting_out_of_range_is_answered_in_the_panel_and_the_next_change_recovers(panel, name, value, message):
    before, old = panel.result, panel.controls[name].value
    panel.controls[name].value = value
    assert panel.wait() is before
    assert message in text(panel.message) and 'role="alert"' in panel.message.value
    assert panel.progress.bar_style == "danger"
    panel.controls[name].value = old
    assert torch.equal(panel.wait().images, before.images)
    assert "alert" not in panel.message.value and re.match(r"2 images in [\d.]+ s", text(panel.message))


def test_a_generation_that_fails_half_way_shows_the_error_and_the_last_whole_picture(panel, monkeypatch):
    picture, real = bytes(panel.picture.value), module.generate

    def broken(model, tokenizer, labels, on_scale, **settings):
        def hook(step):
            on_scale(step)
            if step.k == 1:
                raise RuntimeError("<out of memory>")

        return real(model, tokenizer, labels, on_scale=hook, **settings)

    monkeypatch.setattr(module, "generate", broken)
    panel.controls["seed"].value = 5
    panel.wait()
    assert "RuntimeError: &lt;out of memory&gt; (the picture is an earlier one)" in panel.message.value
    assert bytes(panel.picture.value) == picture
    monkeypatch.undo()
    panel.controls["seed"].value = 6
    assert panel.wait().settings["seed"] == 6 and bytes(panel.picture.value) != picture


def test_sliders_stay_within_what_generate_accepts(panel):
    for name, low, high in (("cfg", 0, 10), ("top_p", 0, 1)):
        assert (panel.controls[name].min, panel.controls[name].max) == (low, high)


def test_every_control_has_a_label(panel):
    for control in [*panel.controls.values(), panel.pause, panel.progress, panel.save_button, panel.pin_button]:
        assert control.description


def test_save_writes_the_picture_that_is_shown_and_its_settings(panel, tmp_path, monkeypatch):
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    panel.controls["class"].value = 3
    panel.wait()
    panel.save_button.click()
    png, record = (tmp_path / "saved" / f"class3-cfg1.5-k0-p0.96-seed0-2images.{kind}" for kind in ("png", "json"))
    assert sorted((tmp_path / "saved").iterdir()) == [record, png]
    assert json.loads(record.read_text())["settings"] == panel.result.settings
    assert Image.open(png).size == (2 * 12 + 2, 14)
    assert text(panel.message) == f"saved saved/{png.name} and .json"


def test_what_cannot_be_saved_is_said_in_the_panel(panel, tmp_path):
    (tmp_path / "saved").write_text("a file where the folder should be")
    panel.save_button.click()
    assert "FileExistsError" in text(panel.message)


def test_save_before_the_first_picture_says_so(model, tokenizer, tmp_path):
    panel = SamplingPanel(model, tokenizer, CLASSES, folder=tmp_path, images=0)
    panel.wait()
    panel.save_button.click()
    assert "there is no picture to save yet" in text(panel.message) and list(tmp_path.iterdir()) == []


def test_the_default_run_of_the_small_model_takes_less_than_a_second():
    model, tokenizer = load("fashion-var-d4")
    seconds, threads = [], torch.get_num_threads()
    torch.set_num_threads(1)  # two would count the time that they wait for each other beside another program
    try:
        for _ in range(3):
            start = time.process_time()
            result = sample_stages(model, tokenizer, START, lambda k, images: grid(images))
            seconds.append(time.process_time() - start)
            if seconds[-1] < 1:
                break
    finally:
        torch.set_num_threads(threads)
    assert min(seconds) < 1 and len(result.images) == 8


# What changed


def test_what_changed_names_settings_tokens_and_differences(model, tokenizer):
    a, b = (sample_stages(model, tokenizer, START | s) for s in ({"images": 3}, {"images": 2, "cfg": 8.0}))
    change = changes(a, b)
    assert change.settings == {"cfg": (1.5, 8.0), "images": (3, 2)}
    assert [of for _, of in change.tokens] == [2, 8, 18, 50]
    assert change.tokens[0][0] == 0  # guidance starts at the second scale
    assert change.tokens[1:] == [
        (int((x[:2] != y).sum()), y.numel()) for x, y in zip(a.idx[1:], b.idx[1:], strict=True)
    ]
    assert torch.equal(change.difference.int(), (a.images[:2].int() - b.images.int()).abs())
    assert change.mean == pytest.approx(change.difference.float().mean((1, 2, 3)).tolist())
    html = change_html(change, model.scales, CLASSES)
    assert "cfg 1.5 → 8.0, images 3 → 2" in html and "0 of 2 tokens" in html


def test_nothing_differs_from_itself(model, tokenizer):
    a = sample_stages(model, tokenizer, START)
    change = changes(a, a)
    assert change.settings == {} and change.mean == [0] * 8 and all(differ == 0 for differ, _ in change.tokens)
    assert "no setting differs" in change_html(change, model.scales, CLASSES)


def test_a_change_of_class_is_told_by_names(model, tokenizer):
    a, b = (sample_stages(model, tokenizer, START | {"class": c, "images": 1}) for c in (2, 7))
    assert "class kind 2 → kind 7" in change_html(changes(a, b), model.scales, CLASSES)


def test_a_pinned_result_is_compared_with_all_that_follows_until_it_is_unpinned(panel):
    assert panel.comparison.layout.display == "none"
    panel.pin_button.click()
    assert panel.comparison.layout.display == "" and "no setting differs" in panel.changed.value
    same = bytes(panel.changed_picture.value)
    panel.controls["cfg"].value = 8.0
    panel.wait()
    assert "cfg 1.5 → 8.0" in panel.changed.value and bytes(panel.changed_picture.value) != same
    assert panel.pin_button.description == "Unpin A"
    panel.pin_button.click()
    assert panel.comparison.layout.display == "none" and panel.pin_button.description == "Pin as A"


def test_two_panels_do_not_share_anything(panel, model, tokenizer):
    other = SamplingPanel(model, tokenizer, CLASSES, images=2, seed=9)
    other.wait()
    picture = bytes(panel.picture.value)
    other.controls["seed"].value = 10
    other.wait()
    assert bytes(panel.picture.value) == picture and panel.result.settings["seed"] == 0


def test_wrong_arguments_are_refused(model, tokenizer):
    with pytest.raises(ValueError, match="classes must be the names of the 10 classes, got 2"):
        SamplingPanel(model, tokenizer, ["a", "b"])
    with pytest.raises(ValueError, match="no setting cgf; there are: class, cfg"):
        SamplingPanel(model, tokenizer, CLASSES, cgf=3)


def test_the_words_for_a_panel_do_not_depend_on_its_pictures(panel):
    assert repr(panel) == "SamplingPanel(7 settings)"


@pytest.mark.parametrize("kind", ["raster", "maskgit", "dit"])
def test_models_that_draw_no_scale_a_step_are_refused(kind):
    model = lively(kind, **EXAMPLES[kind][0])
    with pytest.raises(ValueError, match="model: the panel is for models that draw one scale a step"):
        SamplingPanel(model, tokenizer_for(model), CLASSES)
