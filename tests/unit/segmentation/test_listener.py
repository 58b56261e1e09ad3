from dataset_diffusion.segmentation.listener import SILENT, TrainingListener


def test_a_listener_hears_only_what_it_asks_for():
    class Losses(TrainingListener):
        def __init__(self):
            self.heard = []

        def on_step(self, step, total, loss):
            self.heard.append((step, total, loss))

    losses = Losses()
    for listener in (losses, SILENT):
        listener.on_step(1, 2, 0.5)
        listener.on_label(3, 4)
    assert losses.heard == [(1, 2, 0.5)]
