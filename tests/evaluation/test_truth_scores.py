import torch

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


def test_samples_are_held_against_reconstructions_and_against_scenes_as_rendered(monkeypatch):
    class Drawn:
        def __init__(self, *asked):
            self.asked, self.labels, self.tokenizer = asked, torch.arange(10), "its tokenizer"

        def __len__(self):
            return 10

        def batch(self, rows):
            return torch.full((rows.stop - rows.start, 3, 64, 64), 7, dtype=torch.uint8)

    limits = {"real": 0.1, "its tokenizer": 0.3}
    monkeypatch.setattr(module, "SCENES", 2)
    monkeypatch.setattr(module, "load_reader", lambda: "reader")
    monkeypatch.setattr(module, "Samples", Drawn)
    monkeypatch.setattr(module, "reconstruct", lambda tokenizer, images: tokenizer)
    monkeypatch.setattr(module, "coherence_limit", lambda _, real: limits[real if isinstance(real, str) else "real"])
    monkeypatch.setattr(module, "judge_samples", lambda _, img, labels, limit: {"coherent": limit, "good": len(img)})
    found = module.score_by_truth("still-var-d6", "var", Request())
    assert found == {"coherent": 0.3, "good": 10, "coherent_as_rendered": 0.1}


def test_where_the_reader_does_not_ship_it_is_said(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(module, "CHECKPOINTS", tmp_path)
    assert not module.reader_ships()
    assert "note: without still-reader (varlite train-reader) nothing is said" in capsys.readouterr().err
