"""Print the help of every option of the vLLM that this interpreter has, on a machine with or without a usable GPU."""

import sys

import vllm.platforms
from vllm.platforms.cpu import CpuPlatform

if vllm.platforms.current_platform.is_unspecified():
    # Options are the same for every device, but without any the engine refuses to name them.
    vllm.platforms.current_platform = CpuPlatform()
sys.argv = ["vllm", "serve", "--help=all"]
from vllm.entrypoints.cli.main import main  # noqa: E402

main()
