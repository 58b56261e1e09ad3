import pytest
import torch

from dataset_diffusion.errors import ModelError
from dataset_diffusion.machine.devices import explained_memory_errors, is_out_of_memory, usual_dtype

MORE_THAN_THERE_IS = 1 << 50


def test_what_the_cpu_says_is_recognised():
    with pytest.raises(RuntimeError) as error:
        torch.empty(MORE_THAN_THERE_IS)
    assert is_out_of_memory(error.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory."))
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def test_it_is_told_in_one_line():
    with pytest.raises(ModelError) as error, explained_memory_errors("for this", fix="less"):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB.\nSee documentation")
    assert str(error.value) == "the device has too little memory for this; got CUDA out of memory; fix: less"
    with pytest.raises(ModelError) as error, explained_memory_errors("for this", fix="less"):
        torch.empty(MORE_THAN_THERE_IS)
    told = "the device has too little memory for this; got can't allocate memory: you tried to allocate "
    assert str(error.value).startswith(told)
    assert str(error.value).endswith(" bytes; fix: less")


def test_other_errors_pass():
    with pytest.raises(RuntimeError, match=r"^shapes$"), explained_memory_errors("for this", fix="less"):
        raise RuntimeError("shapes")


def test_the_usual_number_format_follows_from_the_devices_name():
    assert usual_dtype("cpu", "float16") == "float32"
    assert usual_dtype("cuda:3", "bfloat16") == "bfloat16"
