"""How much of each group goes: targets, allocations, and the walk to the structure that meets the target.

Allocations are paths of ever smaller structures; costs on paper are closed forms in the groups' counts, and latency
is predicted from measured layers and confirmed by measuring. The search reaches devices only through `Evaluator`.
"""

from onnxprune.search.plan import ALLOCATIONS, AllocationName, Evaluator, Plan, Problem, find_plan
from onnxprune.search.problem import Subject, latency_problem, paper_problem
from onnxprune.search.reach import Probe
from onnxprune.search.sizes import full_counts, keep_mask
from onnxprune.search.target import Target, parse_count, parse_latency, parse_size, ratio_target

__all__ = [
    "ALLOCATIONS",
    "AllocationName",
    "Evaluator",
    "Plan",
    "Probe",
    "Problem",
    "Subject",
    "Target",
    "find_plan",
    "full_counts",
    "keep_mask",
    "latency_problem",
    "paper_problem",
    "parse_count",
    "parse_latency",
    "parse_size",
    "ratio_target",
]
