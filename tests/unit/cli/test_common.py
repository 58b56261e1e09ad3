from dataset_diffusion.cli.common import print_scores, print_skipped
from dataset_diffusion.errors import Skipped


def test_scores_are_printed_class_by_class_and_the_mean_last(capsys):
    print_scores({"per_class_iou": {"cat": 0.5, "dog": 0.25}, "boundary_f": 0.125, "miou": 0.375, "num_images": 3})
    assert capsys.readouterr().out.splitlines() == [
        "  cat   50.0%",
        "  dog   25.0%",
        "boundary_f 0.1250",
        "mIoU 37.5% over 3 images",
    ]


def test_what_was_left_out_is_said_beside_the_results(capsys):
    skipped = Skipped()
    skipped.reasons["a.jpg"] = "no image"
    print_skipped(None)
    print_skipped(skipped)
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "skipped a.jpg: no image\n")
