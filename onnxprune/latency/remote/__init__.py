"""Another machine over SSH: what is sent there, the connection that is resumed, and the device made of both.

`recipe` describes a model without its weights, `ssh` starts the system's OpenSSH client and says why it failed,
`process` is one running connection, `link` keeps one alive, `device` is what the rest of onnxprune sees.
"""

from onnxprune.latency.remote.device import SshDevice
from onnxprune.latency.remote.ssh import Target

__all__ = ["SshDevice", "Target"]
