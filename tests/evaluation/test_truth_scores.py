import torch

from varlite.checkpoints.load import load_tokenizer
from varlite.datasets.still_life import StillLife
from varlite.evaluation import truth_scores as module
from varlite.evaluation.reader import Reading
from varlite.evaluation.request import Request


def reading(scene):
    return Reading(scene, scene.things[0].kind, len(scene.things))


def test_a_reader_is_scored_on_the_test_split_and_on_held_out_combinations(monkeypatch):
    asked = []

    def reads_the_usual_alone(reader, images):
        asked.append(len(images))
        scenes = [StillLife("test").factors(i) for i in range(len(images))]  # wrong for the second set
        return [reading(scene) for scene in scenes]

    monkeypatch.setattr(module, "read", reads_the_usual_alone)
    found = module.score_reader(None, 20)
    assert asked == [20, 2] and found["kind"] == found["azimuth"] == 1.0
    assert 0 <= found["held_out_kind"] < 1 and 0 <= found["held_out_hue"] < 1


def stand_ins(monkeypatch, limits):
    """For all that draws, reconstructs and reads; the limit of what has none in `limits` cannot be told."""

    class Drawn:
        def __init__(self, *asked):
            self.asked, self.labels, self.tokenizer = asked, torch.arange(10), "its tokenizer"

        def __len__(self):
            return 10

        def batch(self, rows):
            return torch.full((rows.stop - rows.start, 3, 64, 64), 7, dtype=torch.uint8)

    def limit(_, real):
        name = real if isinstance(real, str) else "real"
        if name not in limits:
            raise ValueError("real: less than 95% can be read")
        return limits[name]

    monkeypatch.setattr(module, "SCENES", 2)
    monkeypatch.setattr(module, "load_reader", lambda: "reader")
    monkeypatch.setattr(module, "Samples", Drawn)
    monkeypatch.setattr(module, "reconstruct", lambda tokenizer, images: tokenizer)
    monkeypatch.setattr(module, "coherence_limit", limit)


def test_samples_are_held_against_reconstructions_and_against_scenes_as_rendered(monkeypatch):
    stand_ins(monkeypatch, {"real": 0.1, "its tokenizer": 0.3})
    monkeypatch.setattr(module, "judge_samples", lambda _, img, labels, limit: {"coherent": limit, "good": len(img)})
    found = module.score_by_truth("still-var-d6", "var", Request())
    assert found == {"coherent": 0.3, "good": 10, "coherent_as_rendered": 0.1}


def test_where_the_reader_does_not_ship_it_is_said(monkeypatch, tmp_path, capsys):
    assert module.reader_fits(load_tokenizer("still-vq")) and not capsys.readouterr().err
    monkeypatch.setattr(module, "CHECKPOINTS", tmp_path)
    assert not module.reader_fits(load_tokenizer("still-vq"))
    assert "nothing is said of what the pictures show: still-reader is not there" in capsys.readouterr().err


def test_of_pictures_that_the_reader_does_not_read_nothing_is_said(capsys):
    assert not module.reader_fits(load_tokenizer("fashion-vq"))
    assert "still-reader reads RGB of 64 x 64, and these pictures are 1 x 28 x 28" in capsys.readouterr().err


def test_of_a_tokenizer_whose_reconstructions_cannot_be_read_the_other_shares_remain(monkeypatch, capsys):
    stand_ins(monkeypatch, {"real": 0.1})
    judged = {"shows_class": 0.5, "agrees": 0.4, "coherent": 0.3, "good": 0.2, "held_out": 0.0, "variety": 0.9}
    monkeypatch.setattr(module, "judge_samples", lambda *asked: judged)
    found = module.score_by_truth("still-var-d6", "var", Request())
    assert found == {"shows_class": 0.5, "agrees": 0.4, "variety": 0.9, "coherent_as_rendered": 0.3}
    assert "too few reconstructions can be read" in capsys.readouterr().err
