"""The device that a thread works on."""

import torch


class DeviceMissing(RuntimeError):
    """There is no such device here."""


def open_device(name: str) -> torch.device:
    """The device of that name, such as cpu, cuda or cuda:1. A GPU becomes the thread's own: Triton's kernels run there.

    Raises:
        DeviceMissing: there is none.
    """
    if name == "cpu":
        return torch.device(name)
    device = torch.device(name if ":" in name else f"{name}:0")  # torch makes only a numbered one a thread's own
    if not torch.cuda.is_available() or device.index >= torch.cuda.device_count():
        raise DeviceMissing(f"no {name} device here: choose another; cpu works everywhere, slowly")
    torch.cuda.set_device(device)
    # Hopper's first choice otherwise, and it takes tens of ms over a plan for every new length: over each prompt.
    torch.backends.cuda.enable_cudnn_sdp(False)
    return device
