"""How much of each group goes: targets, allocations, and the walk to the structure that meets the target.

Allocations are paths of ever smaller structures; costs on paper are closed forms in the groups' counts, and latency
is predicted from measured layers and confirmed by measuring. The search reaches devices only through `Evaluator`.
"""

from onnxprune.search.admissible import Problem
from onnxprune.search.agents import Agent, RandomAgent, RlAgent, RlConfig
from onnxprune.search.allocation import global_path, growth
from onnxprune.search.calibration import calibrated, drawn_structures, network_key, with_kept
from onnxprune.search.candidates import WORST, Candidate, Judge, Judgement, Verdict
from onnxprune.search.environment import Environment
from onnxprune.search.learned import Task, learn_plan
from onnxprune.search.limits import Limits
from onnxprune.search.loop import (
    OnJudgement,
    SearchConfig,
    SearchOutcome,
    TimeUp,
    by_the_clock,
    search,
    search_budget,
)
from onnxprune.search.plan import (
    AGENTS,
    ALLOCATIONS,
    AgentName,
    AllocationName,
    Beginning,
    Evaluator,
    Plan,
    exact,
    find_plan,
    in_reach,
    kept_share,
    limit_of,
    make_plan,
    met_already,
    original_cost,
    out_of_reach,
    share_off,
)
from onnxprune.search.problem import Subject, latency_problem, paper_problem
from onnxprune.search.ratios import GroupRatios, read_ratios
from onnxprune.search.reach import Probe
from onnxprune.search.rl_pruner import RlPruner, RlPrunerConfig, Sample, rl_pruner_config
from onnxprune.search.sizes import full_counts, keep_mask
from onnxprune.search.target import (
    UNITS,
    Target,
    parse_count,
    parse_latency,
    parse_size,
    ratio_target,
    told_cost,
)

__all__ = [
    "AGENTS",
    "ALLOCATIONS",
    "UNITS",
    "WORST",
    "Agent",
    "AgentName",
    "AllocationName",
    "Beginning",
    "Candidate",
    "Environment",
    "Evaluator",
    "GroupRatios",
    "Judge",
    "Judgement",
    "Limits",
    "OnJudgement",
    "Plan",
    "Probe",
    "Problem",
    "RandomAgent",
    "RlAgent",
    "RlConfig",
    "RlPruner",
    "RlPrunerConfig",
    "Sample",
    "SearchConfig",
    "SearchOutcome",
    "Subject",
    "Target",
    "Task",
    "TimeUp",
    "Verdict",
    "by_the_clock",
    "calibrated",
    "drawn_structures",
    "exact",
    "find_plan",
    "full_counts",
    "global_path",
    "growth",
    "in_reach",
    "keep_mask",
    "kept_share",
    "latency_problem",
    "learn_plan",
    "limit_of",
    "make_plan",
    "met_already",
    "network_key",
    "original_cost",
    "out_of_reach",
    "paper_problem",
    "parse_count",
    "parse_latency",
    "parse_size",
    "ratio_target",
    "read_ratios",
    "rl_pruner_config",
    "search",
    "search_budget",
    "share_off",
    "told_cost",
    "with_kept",
]
