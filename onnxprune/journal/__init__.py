"""What a run observed, kept on disk, so that one that was killed goes on where it was.

A run is a function of its inputs, its seed and what it observes: measured latencies, judged structures. A `Journal`
writes every observation down as it is made and gives it back when the run is repeated; everything between two
observations is computed again.
"""

from onnxprune.journal.journal import Fields, Journal

__all__ = ["Fields", "Journal"]
