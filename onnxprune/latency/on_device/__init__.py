"""What runs on a device: it travels, so it needs Python 3.8, numpy and onnxruntime, and nothing else of onnxprune.

The local device imports it; a remote one gets its text over SSH (see `latency.remote`), so both measure with one loop.
`timing` lets sessions take turns, `binding` keeps copies out of what is timed, `libraries` finds CUDA's, `breakdown`
reads onnxruntime's profile, `memory` measures in a process of its own, `chips` knows what the machine computes with and
`machine` what it does meanwhile, `content` makes files as described, `runner` is the program that answers requests.
"""
